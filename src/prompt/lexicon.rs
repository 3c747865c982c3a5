//! Translates inspection terms of other languages into the English that CLIP's text tower was trained on.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde::Deserialize;
use unicode_normalization::UnicodeNormalization;

const LEXICON: &str = include_str!("../../prompts/lexicon.toml");

#[derive(Deserialize)]
struct File {
    term: Vec<Term>,
}

#[derive(Deserialize)]
struct Term {
    english: String,
    #[serde(flatten)]
    languages: HashMap<String, Vec<String>>,
}

/// Terms in lower case, grouped by their first character.
type Terms = HashMap<char, Vec<(Vec<char>, String)>>;

static SHIPPED: LazyLock<Terms> = LazyLock::new(|| {
    let file: File = toml::from_str(LEXICON).expect("the embedded lexicon is tested");
    let mut terms = Terms::new();
    for term in file.term {
        for word in term.languages.values().flatten() {
            insert(&mut terms, word, &term.english);
        }
    }
    terms
});

/// The built-in lexicon (`prompts/lexicon.toml`) and the prompt file's own terms. Own terms take precedence.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Lexicon {
    own: Terms,
}

impl Lexicon {
    /// Adds a term, or changes the meaning of a built-in term.
    pub fn add(&mut self, term: &str, english: &str) -> Result<(), String> {
        let (term, english) = (term.trim(), english.trim());
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == ' ' || c == '-';
        if term.is_empty() || !(1..=100).contains(&english.len()) || !english.chars().all(is_word) {
            return Err("must stand for one or a few English words".into());
        }
        insert(&mut self.own, term, english);
        Ok(())
    }

    /// Replaces every known term in a text with its English, longest terms first. Terms in Latin letters must be whole
    /// words. Other terms may stand without spaces.
    ///
    /// # Errors
    /// Names the first word that is neither English nor in the lexicon.
    pub fn english(&self, text: &str) -> Result<String, String> {
        // macOS gives names with accents and Hangul decomposed.
        let chars: Vec<char> = text.nfc().collect();
        // One character for one character, so that positions stay the same.
        let lower: Vec<char> = chars.iter().map(|c| lower(*c)).collect();
        let mut english = String::new();
        let mut position = 0;
        while position < chars.len() {
            let starts_word = position == 0 || !is_latin(lower[position - 1]);
            // Of equally long terms the last one wins, which is the file's own.
            let found = [&*SHIPPED, &self.own]
                .into_iter()
                .filter_map(|terms| longest(terms, &lower[position..], starts_word))
                .max_by_key(|(length, _)| *length);
            if let Some((length, word)) = found {
                separate(&mut english);
                english.push_str(word);
                position += length;
                if chars.get(position).is_some_and(|c| c.is_alphanumeric() || *c == '{') {
                    english.push(' ');
                }
                continue;
            }
            let c = chars[position];
            if c.is_alphabetic() && !c.is_ascii() {
                let start = lower[..position].iter().rposition(|c| !c.is_alphabetic());
                let word = chars[start.map_or(0, |s| s + 1)..].iter();
                let word: String = word.take_while(|c| c.is_alphabetic()).take(40).collect();
                return Err(format!(
                    "{word:?} is not in the lexicon, and the model reads English only; write it in \
                     English, or add it to [translate] in the prompt file"
                ));
            }
            english.push(c);
            position += 1;
        }
        Ok(english)
    }
}

/// The longest term at the start of a text: its length and its English.
fn longest<'a>(terms: &'a Terms, text: &[char], starts_word: bool) -> Option<(usize, &'a str)> {
    let fits = |term: &[char]| {
        let latin = term.iter().any(|c| is_latin(*c));
        text.starts_with(term)
            && (!latin || starts_word && !text.get(term.len()).is_some_and(|c| is_latin(*c)))
    };
    let candidates = terms.get(text.first()?)?.iter().filter(|(term, _)| fits(term));
    candidates.max_by_key(|(term, _)| term.len()).map(|(term, english)| (term.len(), &**english))
}

fn insert(terms: &mut Terms, term: &str, english: &str) {
    let term: Vec<char> = term.nfc().map(lower).collect();
    if let Some(first) = term.first() {
        terms.entry(*first).or_default().push((term, english.to_string()));
    }
}

/// Adds a space between words that were written without one.
fn separate(english: &mut String) {
    if english.chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '}') {
        english.push(' ');
    }
}

fn lower(c: char) -> char {
    let mut lower = c.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(only), None) => only,
        _ => c,
    }
}

/// The letters of German, with or without a diacritic.
fn is_latin(c: char) -> bool {
    c.is_alphabetic() && c < '\u{250}'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn english(text: &str) -> Result<String, String> {
        Lexicon::default().english(text)
    }

    #[test]
    fn terms_of_four_languages_become_english() {
        for (text, expected) in [
            ("metal nut", "metal nut"),
            ("kratzer", "scratch"),
            ("{} with a Kratzer", "{} with a scratch"),
            ("긁힘", "scratch"),
            ("キズ", "scratch"),
            ("划痕", "scratch"),
            ("{} with 划痕", "{} with scratch"),
            ("划痕{}", "scratch {}"),
            ("{}划痕", "{} scratch"),
        ] {
            assert_eq!(english(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn taken_apart_letters_are_put_together() {
        let apart: String = "긁힘".nfd().collect();
        assert_eq!(english(&apart).as_deref(), Ok("scratch"));
    }

    #[test]
    fn a_word_that_is_not_known_is_named() {
        assert!(english("a Überwurfmutterding").unwrap_err().contains("\"Überwurfmutterding\""));
        assert!(english("{} with 긁힘곰팡이").unwrap_err().contains("곰팡이"));
        let mut own = Lexicon::default();
        own.add("곰팡이", "mould").unwrap();
        assert_eq!(own.english("{} with 곰팡이").unwrap(), "{} with mould");
        own.add("긁힘", "scuff").unwrap();
        assert_eq!(own.english("긁힘곰팡이").unwrap(), "scuff mould");
        assert!(own.add("a", "ä").is_err());
    }

    #[test]
    fn every_shipped_term_means_one_thing_and_no_english_word() {
        let file: File = toml::from_str(LEXICON).unwrap();
        assert!(file.term.len() >= 100);
        let mut seen = HashMap::new();
        for term in &file.term {
            assert!(term.english.is_ascii() && term.english == term.english.to_lowercase());
            for (language, words) in &term.languages {
                assert!(["ko", "ja", "zh", "de"].contains(&&**language), "{language}");
                for word in words {
                    assert_eq!(english(word).as_deref(), Ok(&*term.english), "{word}");
                    let other = seen.insert(word.to_lowercase(), &term.english);
                    assert_eq!(other, None, "{word} stands twice");
                }
            }
        }
        // The lexicon must not change the prompts of the embedded files.
        for (name, text) in super::super::EMBEDDED {
            let table: toml::Table = toml::from_str(text).unwrap();
            for list in table.values().filter_map(|value| value.as_array()) {
                for line in list.iter().filter_map(|line| line.as_str()) {
                    assert_eq!(english(line).as_deref(), Ok(line), "{name}");
                }
            }
        }
    }
}
