//! Python, as far as it has to be known to colour it and to find what is defined.

use super::source::{is_word, line_starts, Definition, Kind, Source, Token};

const KEYWORDS: [&str; 35] = [
    "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue",
    "def", "del", "elif", "else", "except", "finally", "for", "from", "global", "if", "import",
    "in", "is", "lambda", "nonlocal", "not", "or", "pass", "raise", "return", "try", "while",
    "with", "yield",
];

/// Reads a file's text. `file` is its name in the page.
pub fn parse(file: &str, text: String) -> Source {
    let tokens = tokens(&text);
    let definitions = definitions(&text, &tokens);
    Source {
        file: file.to_owned(),
        text,
        tokens,
        definitions,
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
        let (kind, length) = if c == '#' {
            (Kind::Comment, rest.find('\n').unwrap_or(rest.len()))
        } else if let Some(length) = string(rest) {
            (Kind::Text, length)
        } else if is_word(c) {
            let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
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

/// The length of the string with which the text begins, if it does. One without an end, which no
/// interpreter takes, ends with its line, or with the text if it has three quotes.
fn string(text: &str) -> Option<usize> {
    let prefix = text.find(|c: char| !c.is_ascii_alphabetic())?;
    let letters = text[..prefix].to_ascii_lowercase();
    if prefix > 2 || !letters.chars().all(|c| "rbuft".contains(c)) {
        return None;
    }
    // In a raw string, too, a quote behind a backslash does not end it.
    let formatted = letters.contains(['f', 't']);
    let quote = ["\"\"\"", "'''", "\"", "'"]
        .into_iter()
        .find(|quote| text[prefix..].starts_with(quote))?;
    let mut at = prefix + quote.len();
    let mut depth = 0_usize;
    while at < text.len() {
        let rest = &text[at..];
        let c = rest.chars().next()?;
        match c {
            '\\' => at += rest.chars().take(2).map(char::len_utf8).sum::<usize>(),
            '{' | '}' if formatted && depth == 0 && rest[1..].starts_with(c) => at += 2,
            '{' if formatted => {
                depth += 1;
                at += 1;
            }
            '}' if formatted => {
                depth = depth.saturating_sub(1);
                at += 1;
            }
            // Since 3.12, a string within the braces may have the quotes of the one around it.
            '"' | '\'' if depth > 0 => at += string(rest)?,
            _ if depth == 0 && rest.starts_with(quote) => return Some(at + quote.len()),
            '\n' if quote.len() == 1 => return Some(at),
            c => at += c.len_utf8(),
        }
    }
    Some(text.len())
}

/// Classes and functions at every depth that is no statement's (`if`, `try`), and the names that are
/// assigned to in a module or a class.
fn definitions(text: &str, tokens: &[Token]) -> Vec<Definition> {
    let starts = line_starts(text);
    let line_of = |at: usize| starts.partition_point(|&start| start <= at) - 1;
    let mut definitions: Vec<Definition> = Vec::new();
    // What the line is in: its indentation, its place in the list (none: a statement), whether it is
    // a function.
    let mut open: Vec<(usize, Option<usize>, bool)> = Vec::new();
    let mut brackets = 0_usize;
    let mut previous_line = usize::MAX;
    let mut last_line = 0;
    let code: Vec<&Token> = (tokens.iter().filter(|it| it.kind != Kind::Comment)).collect();
    let mut continued = false;
    for (index, token) in code.iter().enumerate() {
        let word = &text[token.start..token.end];
        let line = line_of(token.start);
        let first = line != previous_line && brackets == 0 && !continued;
        if first {
            let indent = token.start - starts[line];
            while let Some(&(depth, it, _)) = open.last().filter(|it| it.0 >= indent) {
                let _ = depth;
                open.pop();
                if let Some(it) = it {
                    definitions[it].last = last_line;
                }
            }
            let word_at = |ahead: usize| {
                let token = code.get(index + ahead);
                token.map_or("", |token| &text[token.start..token.end])
            };
            let outer = open.iter().rev().find_map(|it| it.1);
            let prefix = outer.map_or(String::new(), |it| format!("{}.", definitions[it].name));
            let in_statement = open.iter().any(|it| it.1.is_none());
            let (keyword, name) = match word {
                "async" => (word_at(1), word_at(2)),
                word => (word, word_at(1)),
            };
            if in_statement {
                // What is defined on a condition is not in the map.
            } else if ["def", "class"].contains(&keyword) {
                definitions.push(Definition {
                    name: prefix + name,
                    first: line,
                    last: line,
                });
                open.push((indent, Some(definitions.len() - 1), keyword == "def"));
            } else if token.kind == Kind::Plain && word_at(1) == "=" && word_at(2) != "=" {
                if !open.iter().any(|it| it.2) && word != "__author__" {
                    definitions.push(Definition {
                        name: prefix + word,
                        first: line,
                        last: line,
                    });
                    open.push((indent, Some(definitions.len() - 1), true));
                }
            } else if !open.iter().any(|it| it.2)
                && [
                    "if", "else", "for", "while", "try", "except", "finally", "with",
                ]
                .contains(&word)
            {
                open.push((indent, None, false));
            }
        }
        match word {
            "(" | "[" | "{" => brackets += 1,
            ")" | "]" | "}" => brackets = brackets.saturating_sub(1),
            _ => {}
        }
        continued = word == "\\";
        last_line = line_of(token.end - 1);
        previous_line = last_line;
    }
    for (_, it, _) in open {
        if let Some(it) = it {
            definitions[it].last = last_line;
        }
    }
    definitions
}

impl Source {
    /// A number that changes when the code of a definition does: neither with its comments, nor with its
    /// text of documentation, nor with what is defined inside of it.
    pub fn fingerprint(&self, definition: &Definition) -> u64 {
        let starts = line_starts(&self.text);
        let line_of = |at: usize| starts.partition_point(|&start| start <= at) - 1;
        let inside = format!("{}.", definition.name);
        let inner: Vec<_> = (self.definitions.iter())
            .filter(|it| it.name.starts_with(&inside) && it.first >= definition.first)
            .collect();
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut previous = "";
        for token in &self.tokens {
            let line = line_of(token.start);
            if line < definition.first || line > definition.last || token.kind == Kind::Comment {
                continue;
            }
            if inner.iter().any(|it| (it.first..=it.last).contains(&line)) {
                continue;
            }
            let word = &self.text[token.start..token.end];
            // A string that is a statement is documentation.
            let alone = self.text[starts[line]..token.start].trim().is_empty()
                && (previous == ":" || previous == "docs");
            if token.kind == Kind::Text && alone {
                previous = "docs";
                continue;
            }
            previous = word;
            for byte in word.bytes().chain([0]) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coloured(text: &str) -> Vec<(Kind, &str)> {
        let tokens = tokens(text).into_iter();
        let coloured = tokens.map(|token| (token.kind, &text[token.start..token.end]));
        coloured.filter(|it| it.0 != Kind::Plain).collect()
    }

    #[test]
    fn strings_end_where_they_end() {
        for string in [
            "''",
            "\"a'b\"",
            r#""a\"b""#,
            r"r'\'#'",
            "\"\"\"a\n\"b\" # c\n\"\"\"",
            "Rb'''x'''",
            "f'{a[\"b\"]} {{'",
            "f\"{a[\"b\"]}\"",
            "u'ä#'",
        ] {
            let text = format!("x = {string} # end");
            assert_eq!(
                coloured(&text),
                [(Kind::Text, string), (Kind::Comment, "# end")]
            );
        }
        // None of these has an end, and none is waited for.
        for text in ["'", "x = 'a\\", "f'{", "\"\"\"", "rb'\\", "é'"] {
            assert_eq!(coloured(text).len(), 1, "{text}");
        }
        assert_eq!(
            coloured("'a\nif"),
            [(Kind::Text, "'a"), (Kind::Keyword, "if")]
        );
        assert_eq!(coloured("iffy or x_if"), [(Kind::Keyword, "or")]);
    }

    #[test]
    fn definitions_are_those_of_modules_classes_and_functions() {
        let text = "\
A = (1,
B = 2)
if A:
    def hidden(): pass
class C(object):
    \"\"\"def no():
def no(): pass
    \"\"\"
    D = E == 1
    x.y = 2
    @decorated
    async def f(self,
a=1):
        g = 1
        def h():
            pass
        # more

    def i(self): return '''
def no(): '''
F = 1
";
        let source = parse("a.py", text.to_owned());
        let found: Vec<_> = (source.definitions.iter())
            .map(|it| (&*it.name, it.first + 1, it.last + 1))
            .collect();
        assert_eq!(
            found,
            [
                ("A", 1, 2),
                ("C", 5, 20),
                ("C.D", 9, 9),
                ("C.f", 12, 16),
                ("C.f.h", 15, 16),
                ("C.i", 19, 20),
                ("F", 21, 21),
            ]
        );
    }

    #[test]
    fn fingerprints_are_of_the_code() {
        let fingerprint = |text: &str| {
            let source = parse("a.py", text.to_owned());
            source.fingerprint(source.find("f").unwrap())
        };
        let first = fingerprint("def f(a):\n    'Text.'\n    return a");
        for same in [
            "def f(a):\n    return a",
            "B = 1\ndef f(a):  # b\n    \"\"\"Other\n    text.\"\"\"\n\n    return  a\nC = 2",
            "def f(a):\n    def g(): pass\n    return a",
        ] {
            assert_eq!(fingerprint(same), first, "{same}");
        }
        for other in [
            "def f(a):\n    return b",
            "def f(a):\n    return 'a'",
            "def f(a, b):\n    return a",
        ] {
            assert_ne!(fingerprint(other), first, "{other}");
        }
    }
}
