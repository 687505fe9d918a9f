//! Names of anybody's choice, on a terminal.

/// A name in a form that stays on its line and tells the terminal nothing: line feeds, escape bytes and
/// whatever else is no visible character are written as in a Rust string, as are those that change the
/// direction of the text around them. An empty name is shown as `''`.
pub fn visible(name: &str) -> String {
    if name.is_empty() {
        return "''".to_owned();
    }
    let mut visible = String::with_capacity(name.len());
    for c in name.chars() {
        let harmful = c.is_control()
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if harmful {
            visible.extend(c.escape_default());
        } else {
            visible.push(c);
        }
    }
    visible
}
