//! Copies of a photo in another light.

use super::Photo;

impl Photo {
    /// The photo with each channel times a factor, clipped.
    pub(crate) fn relit(&self, factors: [f32; 3]) -> Photo {
        let table = factors.map(|factor| -> [u8; 256] {
            std::array::from_fn(|byte| (byte as f32 * factor).round().min(255.0) as u8)
        });
        let channels = self.rgb().iter().enumerate();
        let rgb = channels.map(|(i, byte)| table[i % 3][usize::from(*byte)]).collect();
        Photo::unchecked(self.width(), self.height(), rgb)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn light_changes_each_channel() {
        let photo = Photo::from_rgb(16, 16, [10, 100, 200].repeat(256)).unwrap();
        assert_eq!(photo.relit([1.0; 3]).rgb(), photo.rgb());
        assert_eq!(photo.relit([0.5, 1.0, 1.5]).rgb()[..3], [5, 100, 255]);
    }
}
