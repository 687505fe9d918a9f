//! Rust, as far as it has to be known to colour it and to find what is defined.

use super::source::{is_word, Definition, Kind, Source, Token};

/// One is missing, which marks code that nobody checks: there is none of it here.
const KEYWORDS: [&str; 37] = [
    "Self", "as", "async", "await", "break", "const", "continue", "crate", "dyn", "else", "enum",
    "extern", "false", "fn", "for", "if", "impl", "in", "let", "loop", "match", "mod", "move",
    "mut", "pub", "ref", "return", "self", "static", "struct", "super", "trait", "true", "type",
    "use", "where", "while",
];

/// Reads a file's text. `file` is its name in the page.
pub fn parse(file: &str, text: String) -> Source {
    Source {
        file: file.to_owned(),
        tokens: tokens(&text),
        definitions: definitions(&text),
        text,
    }
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut start = 0;
    while let Some(c) = text[start..].chars().next() {
        let rest = &text[start..];
        if c.is_whitespace() {
            start += c.len_utf8();
            continue;
        }
        let (kind, length) = if rest.starts_with("//") {
            (Kind::Comment, rest.find('\n').unwrap_or(rest.len()))
        } else if rest.starts_with("/*") {
            (Kind::Comment, block_comment(rest))
        } else if let Some(length) = string(rest).or_else(|| character(rest)) {
            (Kind::Text, length)
        } else if c == '\'' {
            // A lifetime.
            (Kind::Plain, 1 + word(&rest[1..]))
        } else if is_word(c) {
            let raw = rest.starts_with("r#") && rest[2..].starts_with(is_word);
            let length = if raw {
                2 + word(&rest[2..])
            } else {
                word(rest)
            };
            let keyword = KEYWORDS.contains(&&rest[..length]);
            let kind = if keyword { Kind::Keyword } else { Kind::Plain };
            (kind, length)
        } else {
            (Kind::Plain, c.len_utf8())
        };
        let end = start + length;
        tokens.push(Token { kind, start, end });
        start = end;
    }
    tokens
}

fn word(text: &str) -> usize {
    text.find(|c| !is_word(c)).unwrap_or(text.len())
}

/// They nest.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

fn string(text: &str) -> Option<usize> {
    let letters = word(text);
    if !["", "b", "c", "r", "br", "cr"].contains(&&text[..letters]) {
        return None;
    }
    let raw = text[..letters].ends_with('r');
    let hashes = text[letters..].len() - text[letters..].trim_start_matches('#').len();
    if hashes > 0 && !raw || !text[letters + hashes..].starts_with('"') {
        return None;
    }
    let mut at = letters + hashes + 1;
    if raw {
        let end = format!("\"{}", "#".repeat(hashes));
        return Some(
            text[at..]
                .find(&end)
                .map_or(text.len(), |it| at + it + end.len()),
        );
    }
    while let Some(c) = text[at..].chars().next() {
        at += match c {
            '"' => return Some(at + 1),
            '\\' => text[at..].chars().take(2).map(char::len_utf8).sum(),
            c => c.len_utf8(),
        };
    }
    Some(text.len())
}

/// `'a'` is a character, and `'a` a lifetime.
fn character(text: &str) -> Option<usize> {
    let prefix = usize::from(text.starts_with("b'"));
    let mut chars = text[prefix..].strip_prefix('\'')?.chars();
    match (chars.next()?, chars.next()?) {
        ('\\', escaped) => {
            let at = prefix + 2 + escaped.len_utf8();
            Some(text[at..].find('\'').map_or(text.len(), |it| at + it + 1))
        }
        (c, '\'') => Some(prefix + c.len_utf8() + 2),
        _ => None,
    }
}

/// What a line that `rustfmt` has formatted defines, and the keyword.
fn defined(line: &str) -> Option<(&str, &str)> {
    let keywords = [
        "struct", "enum", "trait", "fn", "const", "static", "type", "mod",
    ];
    keywords.iter().find_map(|&keyword| {
        let rest = line.strip_prefix(keyword)?.strip_prefix(' ')?;
        Some((keyword, &rest[..word(rest)]))
    })
}

/// Without `pub` and the like.
fn bare(line: &str) -> &str {
    let rest = match line.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(')').map_or(rest, |it| it.1),
        Some(rest) if rest.starts_with(' ') => rest,
        _ => line,
    };
    rest.trim_start()
}

/// The type that an `impl` is for: of `impl<T> fmt::Debug for Future<T> {`, it is `Future`.
fn implementor(line: &str) -> &str {
    let mut rest = line.strip_prefix("impl").unwrap_or(line);
    if rest.starts_with('<') {
        let (mut depth, mut previous) = (0, ' ');
        let end = rest.find(|c| {
            match c {
                '<' => depth += 1,
                '>' if previous != '-' => depth -= 1,
                _ => {}
            }
            previous = c;
            depth == 0
        });
        rest = end.map_or("", |end| &rest[end + 1..]);
    }
    let rest = rest.split(" for ").last().unwrap_or_default().trim();
    &rest[..word(rest)]
}

/// Types, functions, constants; methods, fields and cases. By lines, as `rustfmt` makes them.
fn definitions(text: &str) -> Vec<Definition> {
    let lines: Vec<&str> = text.lines().collect();
    let mut definitions = Vec::new();
    // The keyword and the name of what the lines with four spaces before them are in.
    let mut inside: Option<(&str, &str)> = None;
    for (number, line) in lines.iter().enumerate() {
        let mut define = |name: String, last: usize| {
            definitions.push(Definition {
                name,
                first: number,
                last,
            });
        };
        if line.starts_with("impl") {
            inside = Some(("impl", implementor(line)));
        } else if line.starts_with('}') {
            inside = None;
        } else if let Some(member) = line.strip_prefix("    ") {
            let (keyword, owner) = match inside {
                Some((keyword, owner)) if !owner.is_empty() => (keyword, owner),
                _ => continue,
            };
            if member.starts_with([' ', '/', '#', '}', ')']) {
                continue;
            }
            let rest = bare(member);
            match (defined(rest), keyword) {
                (Some(("fn", name)), _) => {
                    define(format!("{owner}::{name}"), last_line(&lines, number))
                }
                (None, "enum" | "struct") if keyword == "enum" || rest.contains(": ") => {
                    let name = &rest[..word(rest)];
                    define(format!("{owner}::{name}"), last_line(&lines, number));
                }
                _ => {}
            }
        } else if let Some((keyword, name)) = defined(bare(line)) {
            define(name.to_owned(), last_line(&lines, number));
            inside = Some((keyword, name)).filter(|_| line.ends_with('{'));
        }
    }
    definitions
}

/// The line with the brace, or the semicolon, that ends what begins in this one.
fn last_line(lines: &[&str], first: usize) -> usize {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let depth = indent(lines[first]);
    if lines[first].ends_with([';', ',', '}']) {
        return first;
    }
    let mut in_body = lines[first].ends_with('{');
    for (number, line) in lines.iter().enumerate().skip(first + 1) {
        if indent(line) > depth || line.trim().is_empty() {
            // A declaration, the conditions of which have lines of their own.
            if !in_body && line.ends_with(';') {
                return number;
            }
            continue;
        }
        if line.ends_with('{') {
            in_body = true;
        } else if line.trim_start().starts_with('}') || line.ends_with(';') {
            return number;
        }
    }
    lines.len() - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_comments_and_lifetimes() {
        for (text, expected) in [
            ("x = \"a\\\"b // c\" // d", "\"a\\\"b // c\"|// d"),
            ("r#\"a\"b\\\"# r\"\\\"", "r#\"a\"b\\\"#|r\"\\\""),
            ("b\"x\" c\"y\" br##\"\"#\"##", "b\"x\"|c\"y\"|br##\"\"#\"##"),
            (
                "'a' '\\'' '\\u{1f}' b'\\\\' '\"'",
                "'a'|'\\''|'\\u{1f}'|b'\\\\'|'\"'",
            ),
            ("&'a str, 'static 'é'", "'é'"),
            ("/* a /* b */ \" */ x", "/* a /* b */ \" */"),
            ("r#x y#\"", "\""),
            // None of these has an end, and none is waited for.
            ("/* /* */", "/* /* */"),
            ("r#\"", "r#\""),
            ("\"\\", "\"\\"),
            ("'\\", ""),
            ("'\\x", "'\\x"),
        ] {
            let tokens = tokens(text).into_iter();
            let found: Vec<_> = tokens
                .filter(|token| matches!(token.kind, Kind::Text | Kind::Comment))
                .map(|token| &text[token.start..token.end])
                .collect();
            assert_eq!(found.join("|"), expected, "{text}");
        }
    }

    #[test]
    fn definitions_have_the_names_of_the_map() {
        let text = "\
pub(super) const A: usize =
    1;
pub enum E {
    /// Text.
    B,
    C(u8),
}
impl<F: Fn() -> T> fmt::Debug for S<T> {
    fn fmt(
        &self,
    ) -> R
    where
        F: X,
    {
        let x = 1;
    }
}
pub trait T {
    fn g(&self)
    where
        Self: X;
    fn h();
}
struct S<T> {
    field: T,
}
mod m;
";
        let found: Vec<_> = (definitions(text).iter())
            .map(|it| format!("{} {}-{}", it.name, it.first + 1, it.last + 1))
            .collect();
        let expected = "A 1-2|E 3-7|E::B 5-5|E::C 6-6|S::fmt 9-16|T 18-23|T::g 19-21|T::h 22-22|S 24-26|S::field 25-25|m 27-27";
        assert_eq!(found.join("|"), expected);
    }
}
