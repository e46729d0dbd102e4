//! Statements of `keepalived.conf`, in their blocks.

use super::Notes;
use super::text::{Line, Origin};

/// How deep blocks may stand in each other.
const DEPTH_MAX: usize = 16;

/// A line of words, with the block behind it.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    pub(crate) at: Origin,
    /// The keyword first.
    pub(crate) words: Vec<String>,
    pub(crate) body: Vec<Self>,
}

impl Statement {
    /// Its first word.
    pub(crate) fn keyword(&self) -> &str {
        self.words.first().map(String::as_str).unwrap_or_default()
    }

    /// The word behind the keyword.
    pub(crate) fn value(&self) -> Option<&str> {
        self.words.get(1).map(String::as_str)
    }

    /// Everything behind the keyword.
    pub(crate) fn rest(&self) -> String {
        self.words.get(1..).unwrap_or_default().join(" ")
    }

    /// The words of all lines of its block.
    pub(crate) fn listed(&self) -> impl Iterator<Item = (&Origin, &str)> {
        self.body.iter().flat_map(|line| line.words.iter().map(|word| (&line.at, word.as_str())))
    }
}

/// All statements outside blocks, with those in theirs.
pub(super) fn parse(lines: &[Line], notes: &mut Notes) -> Vec<Statement> {
    // The statements that are open, each with those that stand in its block so far.
    let mut open: Vec<Vec<Statement>> = vec![Vec::new()];
    for line in lines {
        let mut words = Vec::new();
        for token in tokens(&line.text) {
            match token {
                Token::Word(word) => words.push(word),
                Token::Open => {
                    end(&mut open, &line.at, &mut words);
                    if open.len() > DEPTH_MAX {
                        notes.add(line.at.clone(), "blocks stand too deep in each other");
                        return open.swap_remove(0);
                    }
                    if open.last().is_none_or(Vec::is_empty) {
                        notes.add(line.at.clone(), "a `{` has no keyword before it");
                        let at = line.at.clone();
                        let nameless = Statement { at, words: Vec::new(), body: Vec::new() };
                        open.last_mut().expect("the first is never closed").push(nameless);
                    }
                    open.push(Vec::new());
                }
                Token::Close => {
                    end(&mut open, &line.at, &mut words);
                    close(&mut open, &line.at, notes);
                }
            }
        }
        end(&mut open, &line.at, &mut words);
    }
    while open.len() > 1 {
        if let Some(statement) = open[open.len() - 2].last() {
            let message = format!("the block of `{}` is not closed", statement.keyword());
            notes.add(statement.at.clone(), message);
        }
        let body = open.pop().expect("there are more than one");
        give(&mut open, body);
    }
    open.swap_remove(0)
}

/// Ends the line that is being read.
fn end(open: &mut [Vec<Statement>], at: &Origin, words: &mut Vec<String>) {
    if words.is_empty() {
        return;
    }
    let statement = Statement { at: at.clone(), words: std::mem::take(words), body: Vec::new() };
    open.last_mut().expect("the first is never closed").push(statement);
}

fn close(open: &mut Vec<Vec<Statement>>, at: &Origin, notes: &mut Notes) {
    if open.len() == 1 {
        return notes.add(at.clone(), "a `}` closes nothing");
    }
    let body = open.pop().expect("there are more than one");
    give(open, body);
}

/// Puts a block behind the statement that it belongs to.
fn give(open: &mut [Vec<Statement>], body: Vec<Statement>) {
    let statement = open.last_mut().and_then(|statements| statements.last_mut());
    statement.expect("a block is opened behind a statement").body = body;
}

enum Token {
    Word(String),
    Open,
    Close,
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut word: Option<String> = None;
    let mut in_quotes = false;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                in_quotes = !in_quotes;
                // `""` is a word.
                word.get_or_insert_default();
            }
            '\\' if in_quotes => word.get_or_insert_default().extend(chars.next()),
            '{' | '}' if !in_quotes => {
                tokens.extend(word.take().map(Token::Word));
                tokens.push(if c == '{' { Token::Open } else { Token::Close });
            }
            c if c.is_whitespace() && !in_quotes => tokens.extend(word.take().map(Token::Word)),
            c => word.get_or_insert_default().push(c),
        }
    }
    tokens.extend(word.map(Token::Word));
    tokens
}
