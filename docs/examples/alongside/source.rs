//! A source file: its tokens, its definitions, and its lines as HTML.

use std::collections::HashMap;
use std::fmt::Write as _;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Plain,
    Keyword,
    /// A string or a character.
    Text,
    Comment,
}

/// White space between two tokens is no token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Token {
    pub kind: Kind,
    /// In bytes.
    pub start: usize,
    pub end: usize,
}

/// A class, a function, a variable of a module or a class; a field, a case of an enum.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// `Future.cancel` in Python, `Future::cancel` in Rust.
    pub name: String,
    /// Lines, the first of which is 0.
    pub first: usize,
    pub last: usize,
}

impl Definition {
    /// Without what it is defined in.
    pub fn own_name(&self) -> &str {
        self.name.rsplit(['.', ':']).next().unwrap_or_default()
    }
}

pub struct Source {
    /// `_base.py`, `_base.rs`, `stdlib/queue.rs`.
    pub file: String,
    pub text: String,
    pub tokens: Vec<Token>,
    pub definitions: Vec<Definition>,
}

impl Source {
    /// How a definition is addressed in the page, and in a link to it.
    pub fn id(&self, definition: &Definition) -> String {
        format!("{}:{}", self.file, definition.name)
    }

    pub fn find(&self, name: &str) -> Option<&Definition> {
        self.definitions.iter().find(|it| it.name == name)
    }

    /// Each line as an element; the first name of each definition is a link to itself.
    pub fn html(&self) -> String {
        let starts = line_starts(&self.text);
        let mut links: HashMap<usize, String> = HashMap::new();
        let mut linked: HashMap<&str, ()> = HashMap::new();
        for definition in &self.definitions {
            let start = starts[definition.first];
            let end = end_of_line(&self.text, start);
            let at = find_word(&self.text[start..end], definition.own_name());
            // A name that a file has twice, such as a method of two traits, is a link once.
            if let (Some(at), None) = (at, linked.insert(&definition.name, ())) {
                links.insert(start + at, self.id(definition));
            }
        }
        let mut html = String::new();
        let mut tokens = self.tokens.iter().peekable();
        for (number, &start) in starts.iter().enumerate() {
            let end = end_of_line(&self.text, start);
            // What does not fit into the line goes on a little to the right of where it begins.
            let line = &self.text[start..end];
            let indent = line.len() - line.trim_start().len();
            let style = match indent {
                0 => String::new(),
                _ => format!(" style=\"--i:{indent}\""),
            };
            let _ = write!(html, "<div class=\"l\" data-n=\"{}\"{style}>", number + 1);
            let mut at = start;
            // A token may go on in the next line, so it is only taken where it ends.
            while let Some(token) = tokens.peek().filter(|token| token.start < end) {
                let (from, to) = (token.start.max(start), token.end.min(end));
                html.push_str(&escape(&self.text[at..from]));
                let words = escape(&self.text[from..to]);
                let class = match token.kind {
                    Kind::Plain => "",
                    Kind::Keyword => "k",
                    Kind::Text => "s",
                    Kind::Comment => "c",
                };
                let _ = match (links.get(&token.start), class) {
                    (Some(id), _) => {
                        let id = escape(id);
                        write!(html, "<a class=\"d\" href=\"#{id}\">{words}</a>")
                    }
                    (None, "") => write!(html, "{words}"),
                    (None, class) => write!(html, "<i class=\"{class}\">{words}</i>"),
                };
                at = to;
                if token.end > end {
                    break;
                }
                tokens.next();
            }
            html.push_str(&escape(self.text[at..end].trim_end()));
            html.push_str("</div>\n");
        }
        html
    }
}

/// Where each line begins. What follows the last line feed is a line if there is anything.
pub fn line_starts(text: &str) -> Vec<usize> {
    let feeds = text.match_indices('\n').map(|(at, _)| at + 1);
    let starts = std::iter::once(0).chain(feeds);
    starts.filter(|&start| start < text.len()).collect()
}

fn end_of_line(text: &str, start: usize) -> usize {
    text[start..].find('\n').map_or(text.len(), |at| start + at)
}

pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where this word is, as a whole.
fn find_word(line: &str, word: &str) -> Option<usize> {
    let mut found = line.match_indices(word).map(|(at, _)| at);
    found
        .find(|&at| !line[..at].ends_with(is_word) && !line[at + word.len()..].starts_with(is_word))
}

/// Text that an element, or the value of an attribute, may hold as it is.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // HTML has no name for these, and no use.
            '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' => escaped.push('\u{fffd}'),
            '\r' => {}
            c => escaped.push(c),
        }
    }
    escaped
}
