//! The parts that a command line names: photos that belong together.

use blemish::data::{Grouped, Part, Views};

use super::inputs::Inputs;
use super::terminal::message;

impl Inputs {
    /// Puts the photos of each part together. Then `photos` has the first photo of each part. `lights`: what each part must have;
    /// None: what most parts have. Parts that cannot be used are errors.
    pub fn parts(&mut self, views: &Views, lights: Option<&[String]>, quiet: bool) -> Vec<Part> {
        let Grouped { mut parts, others, errors } = views.group(&self.photos);
        self.errors.extend(errors.iter().map(message));
        let common = Part::lights(&parts);
        let lights = lights.unwrap_or(&common);
        parts.retain(|part| match part.check(lights) {
            Ok(()) => true,
            Err(error) => {
                self.errors.push(message(&error));
                false
            }
        });
        if let (Some(first), false) = (others.first(), quiet && !parts.is_empty()) {
            let (count, pattern) = (others.len(), views.pattern());
            say!(
                "note: not read: {count} photos that do not fit {pattern}, {} first",
                first.display()
            );
        }
        self.photos = parts.iter().map(|part| part.first().to_path_buf()).collect();
        parts
    }
}
