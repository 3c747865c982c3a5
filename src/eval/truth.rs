//! Ground truth as regions: the 8-connected regions of a mask, or one region per file in MVTec LOCO. Each region has a
//! number of pixels that have to be found.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::data::{Layout, Sample};
use crate::detect::AnomalyMap;
use crate::error::{Error, Result};
use crate::image::Mask;
use crate::metrics::Pixels;

const MOST_CONFIG: u64 = 1 << 20;

/// What the masks of a product mean.
pub(super) enum Truth {
    /// Each 8-connected region of a mask has to be found as a whole.
    Regions,
    /// Each file holds one region. The value of its mask says how much of the region has to be found.
    Loco(BTreeMap<u8, Saturation>),
}

/// One entry of `defects_config.json`.
#[derive(Deserialize)]
struct Entry {
    defect_name: String,
    pixel_value: u8,
    saturation_threshold: serde_json::Number,
    relative_saturation: bool,
}

/// How much of a region has to be found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Saturation {
    Share(f64),
    Pixels(usize),
}

impl Truth {
    /// The ground truth of the photos of one product. Reads `defects_config.json` for MVTec LOCO.
    pub fn of(samples: &[&Sample], layout: Layout) -> Result<Self> {
        let (Layout::Loco, Some(sample)) = (layout, samples.first()) else {
            return Ok(Self::Regions);
        };
        // <product>/test/<kind>/<photo>
        let product = sample.photo.ancestors().nth(3).unwrap_or(Path::new(""));
        let file = product.join("defects_config.json");
        let bytes = crate::files::read(&file, MOST_CONFIG).map_err(Error::read(&file))?;
        Ok(Self::Loco(config(&bytes).map_err(|why| Error::data(&file, why))?))
    }

    /// Adds a photo's map to the pixels of its kind. Returns what is doubtful about its mask.
    pub fn add(
        &self,
        sample: &Sample,
        map: &AnomalyMap,
        pixels: &mut Pixels,
    ) -> Result<Option<String>> {
        let (width, height) = (map.width, map.height);
        let Self::Loco(saturations) = self else {
            let mask = Mask::open(&sample.masks, width, height)?;
            pixels.add_masked(&map.values, &mask.pixels, width);
            return Ok(mask.note);
        };
        let mut union = vec![false; width * height];
        let mut regions = Vec::new();
        for file in &sample.masks {
            let (value, region) = Mask::one_value(file, width, height)?;
            let saturation = saturations.get(&value).ok_or_else(|| {
                let why = format!("marks with {value}, which defects_config.json does not have");
                Error::photo(file, why)
            })?;
            region.iter().for_each(|&pixel| union[pixel] = true);
            let least = saturation.of(region.len());
            regions.push((region, least));
        }
        pixels.add(&map.values, &union, regions);
        Ok(None)
    }
}

impl Saturation {
    /// How many pixels of a region have to be found. `area`: pixels of the region.
    fn of(self, area: usize) -> usize {
        match self {
            Self::Share(share) => (share * area as f64) as usize,
            Self::Pixels(pixels) => pixels.min(area),
        }
    }
}

/// Reads `defects_config.json`, with the checks and the terms of the official script.
fn config(bytes: &[u8]) -> Result<BTreeMap<u8, Saturation>, String> {
    let entries: Vec<Entry> = serde_json::from_slice(bytes)
        .map_err(|e| format!("not MVTec LOCO's list of defects ({e})"))?;
    let mut saturations = BTreeMap::new();
    for entry in entries {
        let Entry { defect_name, pixel_value, saturation_threshold, relative_saturation } = entry;
        let fail = |why: &str| Err(format!("{defect_name}: {why}"));
        let saturation = match (relative_saturation, saturation_threshold.as_u64()) {
            (false, Some(pixels)) => Saturation::Pixels(pixels as usize),
            (true, None) => match saturation_threshold.as_f64() {
                Some(share) if share > 0.0 && share <= 1.0 => Saturation::Share(share),
                _ => return fail("a relative saturation_threshold must be in 0..1"),
            },
            (false, None) => return fail("an absolute saturation_threshold counts pixels"),
            (true, Some(_)) => {
                return fail("a relative saturation_threshold is written 1.0, not 1");
            }
        };
        if pixel_value == 0 {
            return fail("pixel_value 0 stands for good pixels");
        }
        if saturations.insert(pixel_value, saturation).is_some() {
            return fail("another defect has the same pixel_value");
        }
    }
    Ok(saturations)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_defects_is_checked_as_the_official_script_does() {
        let entry = |value: &str, threshold: &str, relative: bool| {
            format!(
                r#"[{{"defect_name":"d","pixel_value":{value},"saturation_threshold":{threshold},"relative_saturation":{relative}}}]"#
            )
        };
        let read = |value: &str, threshold: &str, relative| {
            config(entry(value, threshold, relative).as_bytes())
        };
        assert_eq!(read("255", "6300", false).unwrap()[&255].of(7000), 6300);
        assert_eq!(read("255", "6300", false).unwrap()[&255].of(50), 50);
        assert_eq!(read("3", "0.5", true).unwrap()[&3].of(7), 3);
        for (value, threshold, relative) in [
            ("255", "1", true),
            ("255", "1.5", true),
            ("255", "2.5", false),
            ("0", "1.0", true),
            ("256", "1.0", true),
        ] {
            assert!(read(value, threshold, relative).is_err(), "{value} {threshold} {relative}");
        }
    }
}
