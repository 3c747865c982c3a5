//! Foreign text on its way to a person: names of photos and kinds, a hub's answers.

use std::borrow::Cow;

/// As a terminal may show it, on one line: what would move the cursor, colour the screen or turn the direction of
/// writing becomes `?`.
pub fn shown(text: &str) -> Cow<'_, str> {
    match text.contains(steers) {
        true => Cow::Owned(text.replace(steers, "?")),
        false => Cow::Borrowed(text),
    }
}

/// JSON of the same meaning that a terminal may show: the same characters, escaped.
pub fn json(text: &str) -> Cow<'_, str> {
    // JSON has line breaks between its values alone.
    let is_raw = |c: char| steers(c) && c != '\n';
    if !text.contains(is_raw) {
        return Cow::Borrowed(text);
    }
    let mut units = [0; 2];
    let escaped = text.chars().map(|c| match is_raw(c) {
        true => c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect(),
        false => c.to_string(),
    });
    Cow::Owned(escaped.collect())
}

fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

/// As a cell of a CSV file: an apostrophe stands before what a spreadsheet would compute as a formula (OWASP, CSV
/// injection). It is as a terminal may show it, too: CSV has no way to write such characters.
pub fn cell(text: &str) -> Cow<'_, str> {
    match text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        true => Cow::Owned(format!("'{}", shown(text))),
        false => shown(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_a_terminal_or_a_spreadsheet() {
        assert_eq!(shown("a\u{1b}[31mb\u{202e}gnp.c\nd"), "a?[31mb?gnp.c?d");
        assert_eq!(shown("Schraube ß 나사 é"), "Schraube ß 나사 é");
        assert_eq!(json("{\n\"\u{202e}\u{9b}\u{e0001}\"}"), "{\n\"\\u202e\\u009b\\udb40\\udc01\"}");
        assert_eq!(cell("=1+1.png"), "'=1+1.png");
        assert_eq!(cell("a=1.png"), "a=1.png");
        assert_eq!(cell("a\u{1b}[31m.png"), "a?[31m.png");
    }
}
