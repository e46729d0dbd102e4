//! Small numbers that name things within one plan or pool; they mean nothing outside it.

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name(pub u32);

        impl $name {
            /// The slot of this id in a table with one slot per id.
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }
    )*};
}

ids! {
    /// A server of one pool.
    EndpointId;
    /// A pool of one plan.
    PoolId;
    /// A route of one plan.
    RouteId;
}
