//! Parts that have several photos, one for each light (or camera): which photos belong together.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use regex::Regex;

use crate::error::{Error, Result};

/// A pattern such as `{part}_{light}.png` or `{part}/{light}.png`, which says which photos show one part.
#[derive(Clone, Debug)]
pub struct Views {
    pattern: String,
    /// For the last [`Views::names`] of a path.
    regex: Regex,
    /// How many names of a path the pattern describes: folders, and the file.
    names: usize,
}

/// A part with its photos.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The folders of its photos, and the name that the pattern finds.
    pub name: PathBuf,
    /// The lights in order of name, each with its photo.
    pub photos: Vec<(String, PathBuf)>,
}

/// What [`Views::group`] finds.
#[derive(Debug, Default)]
pub struct Grouped {
    /// In the order of their first photos.
    pub parts: Vec<Part>,
    /// Photos that the pattern does not describe.
    pub others: Vec<PathBuf>,
    /// Parts with two photos under one light.
    pub errors: Vec<Error>,
}

impl Views {
    /// Reads a pattern with the fields `{part}` and `{light}`. `*` stands for any other letters. A pattern without a file ending
    /// fits every ending.
    ///
    /// # Errors
    /// [`Error::Setting`] names the setting `views`.
    pub fn parse(pattern: &str) -> Result<Self> {
        let refuse = |why: &str| Error::setting(format!("views {pattern}"), why);
        let has_once = |field: &str| pattern.matches(field).count() == 1;
        if !has_once("{part}") || !has_once("{light}") {
            return Err(refuse(
                "needs {part} and {light}, each once, as in \"{part}_{light}.png\"",
            ));
        }
        if pattern.split('/').any(|name| ["", ".", ".."].contains(&name)) {
            return Err(refuse("has a name that no folder or file has; give names and / alone"));
        }
        let mut text = regex::escape(pattern);
        for (field, group) in
            [("\\{part\\}", "(?<part>[^/]+)"), ("\\{light\\}", "(?<light>[^/]+)"), ("\\*", "[^/]*")]
        {
            text = text.replace(field, group);
        }
        if text.contains("\\{") || text.contains("\\}") {
            return Err(refuse("has a field other than {part} and {light}"));
        }
        if !pattern.rsplit('/').next().is_some_and(|file| file.contains('.')) {
            text += "\\.[^/.]+";
        }
        let regex = Regex::new(&format!("^{text}$"));
        let regex = regex
            .map_err(|_| refuse("cannot be read; give a pattern such as \"{part}_{light}.png\""))?;
        let names = pattern.split('/').count();
        Ok(Self { pattern: pattern.into(), regex, names })
    }

    /// The pattern as it was given.
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// The part and the light of a photo.
    fn find(&self, photo: &Path) -> Option<(PathBuf, String)> {
        let mut names = Vec::new();
        let mut folder = photo;
        for _ in 0..self.names {
            names.push(folder.file_name()?.to_str()?);
            folder = folder.parent().unwrap_or(Path::new(""));
        }
        names.reverse();
        let names = names.join("/");
        let found = self.regex.captures(&names)?;
        Some((folder.join(&found["part"]), found["light"].to_string()))
    }

    /// Puts the photos of each part together.
    pub fn group(&self, photos: &[PathBuf]) -> Grouped {
        let mut grouped = Grouped::default();
        let mut places = BTreeMap::<PathBuf, usize>::new();
        for photo in photos {
            let Some((name, light)) = self.find(photo) else {
                grouped.others.push(photo.clone());
                continue;
            };
            let parts = &mut grouped.parts;
            let place = *places.entry(name.clone()).or_insert(parts.len());
            if place == parts.len() {
                parts.push(Part { name: name.clone(), photos: vec![] });
            }
            let own = &mut parts[place].photos;
            match own.iter().find(|(other, _)| *other == light) {
                Some((_, other)) => {
                    let why = format!(
                        "is the second photo under light {light} beside {}; remove one",
                        other.display()
                    );
                    grouped.errors.push(Error::photo(photo, why));
                }
                None => own.push((light, photo.clone())),
            }
        }
        grouped.parts.iter_mut().for_each(|part| part.photos.sort());
        grouped
    }
}

impl Part {
    /// The first of its photos. Results are kept under its name.
    pub fn first(&self) -> &Path {
        self.photos.first().map_or(&self.name, |(_, photo)| photo)
    }

    /// The lights that most parts have, in order of name.
    pub fn lights(parts: &[Self]) -> Vec<String> {
        let mut counts = BTreeMap::<&str, usize>::new();
        for (light, _) in parts.iter().flat_map(|part| &part.photos) {
            *counts.entry(light).or_default() += 1;
        }
        let common = counts.into_iter().filter(|(_, count)| 2 * count > parts.len());
        common.map(|(light, _)| light.to_string()).collect()
    }

    /// Whether the part has exactly these lights.
    ///
    /// # Errors
    /// [`Error::Photo`] names the part, and the light that is missing or too many.
    pub fn check(&self, lights: &[String]) -> Result<()> {
        let own: Vec<&str> = self.photos.iter().map(|(light, _)| &**light).collect();
        let all = lights.join(", ");
        if lights.is_empty() {
            let why = "shares no light with most parts; change the pattern";
            return Err(Error::photo(&self.name, why));
        }
        if let Some(missing) = lights.iter().find(|light| !own.contains(&&***light)) {
            let why = format!("has no photo under light {missing}; each part needs {all}");
            return Err(Error::photo(&self.name, why));
        }
        match own.iter().find(|light| !lights.iter().any(|other| other == **light)) {
            Some(extra) => {
                let why = format!(
                    "has a photo under light {extra}, which the others do not have: they have {all}"
                );
                Err(Error::photo(&self.name, why))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grouped(pattern: &str, photos: &[&str]) -> Grouped {
        let photos: Vec<PathBuf> = photos.iter().map(PathBuf::from).collect();
        Views::parse(pattern).unwrap().group(&photos)
    }

    fn shown(grouped: &Grouped) -> Vec<String> {
        let lights = |part: &Part| {
            part.photos.iter().map(|(light, _)| light.clone()).collect::<Vec<_>>().join("+")
        };
        grouped
            .parts
            .iter()
            .map(|part| format!("{} {}", part.name.display(), lights(part)))
            .collect()
    }

    #[test]
    fn names_and_folders_say_what_belongs_together() {
        let by_name = ["a/nut_1_top.png", "a/nut_1_left.png", "b/nut_1_top.png", "a/notes.png"];
        let found = grouped("{part}_{light}.png", &by_name);
        assert_eq!(shown(&found), ["a/nut_1 left+top", "b/nut_1 top"]);
        assert_eq!(found.others, [PathBuf::from("a/notes.png")]);
        let found = grouped("{part}/{light}", &["good/7/top.png", "good/7/left.JPG"]);
        assert_eq!(shown(&found), ["good/7 left+top"]);
        let found = grouped("{light}/*{part}.png", &["lines/top/x7.png", "lines/left/y7.png"]);
        assert_eq!(shown(&found), ["lines/7 left+top"]);
        let found =
            grouped("{part}_image_{light}.png", &["data/00_image_0.png", "data/00_mask.png"]);
        assert_eq!((shown(&found).len(), found.others.len()), (1, 1));
    }

    #[test]
    fn a_missing_or_extra_light_names_the_part() {
        let photos = [
            "1_a.png", "1_b.png", "2_a.png", "2_b.png", "3_a.png", "4_a.png", "4_b.png", "4_c.png",
        ];
        let found = grouped("{part}_{light}", &photos);
        let lights = Part::lights(&found.parts);
        assert_eq!(lights, ["a", "b"]);
        let errors: Vec<String> = found
            .parts
            .iter()
            .filter_map(|p| p.check(&lights).err())
            .map(|e| e.to_string())
            .collect();
        assert!(errors[0].starts_with("3: has no photo under light b;"), "{errors:?}");
        assert!(errors[1].starts_with("4: has a photo under light c,"), "{errors:?}");
        let twice = grouped("{part}_{light}", &["1_a.png", "1_a.jpg"]);
        assert!(twice.errors[0].to_string().contains("second photo under light a"));
    }

    #[test]
    fn a_pattern_needs_both_fields() {
        for wrong in [
            "./{part}_{light}.png",
            "{part}/../{light}",
            "/{part}/{light}",
            "{part}.png",
            "{part}_{light}_{light}.png",
            "{part}_{light}_{side}.png",
        ] {
            assert!(Views::parse(wrong).unwrap_err().is_usage(), "{wrong}");
        }
    }
}
