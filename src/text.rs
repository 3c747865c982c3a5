//! Makes foreign text safe for people: names of photos and kinds, answers of a hub.

use std::borrow::Cow;

/// The text as a terminal may show it, on one line. Characters that move the cursor, colour the screen or change the
/// writing direction become `?`.
pub fn shown(text: &str) -> Cow<'_, str> {
    match text.contains(steers) {
        true => Cow::Owned(text.replace(steers, "?")),
        false => Cow::Borrowed(text),
    }
}

/// JSON with the same meaning that a terminal may show. Characters that would steer the terminal are escaped.
pub fn json(text: &str) -> Cow<'_, str> {
    // In JSON, line breaks are only between values, so they may stay.
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

/// The text as a cell of a CSV file. If a spreadsheet would compute the text as a formula, an apostrophe is put before
/// it (OWASP, CSV injection). CSV cannot escape characters that steer a terminal, so they become `?`.
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
