//! Addresses to listen on, networks, ranges of ports and statuses.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use ipnet::IpNet;

use crate::reader::Fault;

/// IP address and port; port 0 lets the system choose.
pub(crate) fn socket(text: &str) -> Result<SocketAddr, Fault> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let fault = Fault::new("bad-address", "is not an address to listen on");
    let bare = text.trim_start_matches("http://").trim_start_matches("https://");
    if let Ok(ip) = bare.parse::<IpAddr>() {
        let complaint = "has no port";
        let help = format!("write \"{}\"", SocketAddr::new(ip, 8080));
        return Err(Fault::new("bad-address", complaint).help(help));
    }
    let (host, port) = bare.rsplit_once(':').unwrap_or(("", bare));
    Err(match (host, port.parse::<u16>()) {
        ("" | "*", Ok(port)) => {
            fault.help(format!("write \"0.0.0.0:{port}\" for IPv4, \"[::]:{port}\" for IPv6"))
        }
        ("localhost", Ok(port)) => fault.help(format!("write \"127.0.0.1:{port}\"")),
        (host, Ok(port)) if host.parse::<IpAddr>().is_ok() => {
            fault.help(format!("write \"{host}:{port}\""))
        }
        (_, Ok(_)) => fault.help("use an address of this machine (see `ip address`), not a name"),
        (_, Err(_)) => fault.help("write address and port: \"0.0.0.0:8080\", \"[::]:8080\""),
    })
}

/// A network; an address alone is a network of one.
pub(crate) fn network(text: &str) -> Result<IpNet, Fault> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(ip));
    }
    let Ok(net) = text.parse::<IpNet>() else {
        return Err(Fault::new("bad-network", "is not an address or network")
            .help("write \"10.0.0.7\", \"10.0.0.0/8\" or \"fd00::/8\""));
    };
    if net.addr() != net.network() {
        let complaint = format!("names one address, but {} bits make a network", net.prefix_len());
        return Err(Fault::new("bad-network", complaint).help(format!(
            "write \"{}\", or \"{}\"",
            net.trunc(),
            net.addr()
        )));
    }
    Ok(net)
}

/// First and last port.
pub(crate) fn ports(text: &str) -> Result<RangeInclusive<u16>, Fault> {
    let fault = || Fault::new("bad-range", "is not a range of ports");
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (Ok(first), Ok(last)) = (first.trim().parse::<u16>(), last.trim().parse::<u16>()) else {
        return Err(fault().help("write first and last port: \"20000-20999\""));
    };
    if first == 0 {
        return Err(fault().help("ports begin at 1"));
    }
    if first > last {
        return Err(fault().help(format!("the lower port comes first: \"{last}-{first}\"")));
    }
    Ok(first..=last)
}

/// A status or a range of them.
pub(crate) fn statuses(text: &str) -> Result<RangeInclusive<u16>, Fault> {
    const STATUSES: RangeInclusive<u16> = 100..=599;
    let fault = || Fault::new("bad-range", "is not a range of statuses");
    if let Some(hundred) = text.strip_suffix("xx") {
        return Err(fault().help(format!("write \"{hundred}00-{hundred}99\"")));
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (Ok(first), Ok(last)) = (first.trim().parse::<u16>(), last.trim().parse::<u16>()) else {
        return Err(fault().help("write a status or a range: \"204\", \"200-299\""));
    };
    if !STATUSES.contains(&first) || !STATUSES.contains(&last) || first > last {
        return Err(fault().help("statuses go from 100 to 599, the lower first"));
    }
    Ok(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listening_needs_an_address_and_a_port() {
        assert!(socket("0.0.0.0:80").is_ok() && socket("[::]:0").is_ok());
        let help = |text| socket(text).expect_err(text).help.expect("there is help");
        assert_eq!(help("10.0.0.7"), "write \"10.0.0.7:8080\"");
        assert_eq!(help("::1"), "write \"[::1]:8080\"");
        assert_eq!(help(":80"), "write \"0.0.0.0:80\" for IPv4, \"[::]:80\" for IPv6");
        assert_eq!(help("8080"), "write \"0.0.0.0:8080\" for IPv4, \"[::]:8080\" for IPv6");
        assert_eq!(help("localhost:80"), "write \"127.0.0.1:80\"");
        assert_eq!(help("http://10.0.0.7:80"), "write \"10.0.0.7:80\"");
    }

    #[test]
    fn a_network_has_no_bits_beyond_its_prefix() {
        assert_eq!(network("10.0.0.7").expect("one address").to_string(), "10.0.0.7/32");
        let fault = network("10.0.0.7/8").expect_err("neither address nor network");
        assert_eq!(fault.help.expect("there is help"), "write \"10.0.0.0/8\", or \"10.0.0.7\"");
        assert!(network("10.0.0.0/33").is_err() && network("office").is_err());
    }

    #[test]
    fn ranges_run_upwards_within_their_bounds() {
        assert_eq!(ports("20000-20999").expect("a range"), 20000..=20999);
        assert!(ports("0-10").is_err() && ports("9-1").is_err() && ports("a-b").is_err());
        assert_eq!(statuses("204").expect("a status"), 204..=204);
        assert!(
            statuses("2xx").is_err() && statuses("299-200").is_err() && statuses("99").is_err()
        );
    }
}
