//! Drawn plates, for tests of folders.

use std::path::Path;
use std::sync::OnceLock;

use image::{Rgb, RgbImage};
use tempfile::{TempDir, tempdir};

use super::blemish;

/// A plate with grain of its own; stained in one corner.
pub fn plate(seed: u32, stained: bool) -> RgbImage {
    RgbImage::from_fn(96, 96, |x, y| {
        let grain = (x.wrapping_mul(7919) ^ y.wrapping_mul(104_729) ^ seed.wrapping_mul(31)) % 23;
        let stain = stained && x.abs_diff(70) < 9 && y.abs_diff(24) < 9;
        let tile = (x / 24 + y / 24) % 2 * 40;
        Rgb([(if stain { 10 } else { 120 } + grain + tile) as u8; 3])
    })
}

/// A folder of plates, the first ones stained.
pub fn plates(folder: &Path, count: u32, stained: u32) {
    std::fs::create_dir_all(folder).unwrap();
    for i in 0..count {
        plate(i, i < stained).save(folder.join(format!("{i:02}.png"))).unwrap();
    }
}

/// A home with the photos of 24 good plates in `good`, and their profile in `plate.blemish`.
pub fn enrolled() -> TempDir {
    // Enrolling takes long.
    static FIRST: OnceLock<Vec<u8>> = OnceLock::new();
    let home = tempdir().unwrap();
    plates(&home.path().join("good"), 24, 0);
    let file = home.path().join("plate.blemish");
    let profile = FIRST.get_or_init(|| {
        enroll(home.path(), "plate.blemish", &[]);
        std::fs::read(&file).unwrap()
    });
    std::fs::write(&file, profile).unwrap();
    home
}

/// Enrols the good plates of a home.
pub fn enroll(home: &Path, file: &str, more: &[&str]) {
    let mut command = blemish(home);
    command.current_dir(home).args(["enroll", "--product", "plate", "-q", "--reference", "good"]);
    command.args(["-o", file]).args(more).assert().success();
}
