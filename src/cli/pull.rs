//! Downloads of models.

/// Downloads a model and shows a progress bar.
#[cfg(feature = "hub")]
pub fn pull(model: &str, quiet: bool) -> blemish::Result<()> {
    use indicatif::{ProgressBar, ProgressStyle};

    let bar = if quiet { ProgressBar::hidden() } else { ProgressBar::new(0) };
    let style = ProgressStyle::with_template(
        "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec}, {eta} left",
    );
    bar.set_style(style.expect("a template that is tested by every download"));
    let mut current = String::new();
    let result = blemish::clip::pull(model, &mut |download| {
        if current != download.file {
            current = download.file.to_string();
            bar.reset();
            bar.set_message(blemish::text::shown(&current).into_owned());
        }
        bar.set_length(download.total);
        bar.set_position(download.done);
    });
    bar.finish_and_clear();
    result
}

/// This build cannot download. Opening a missing model gives the error that says so.
#[cfg(not(feature = "hub"))]
pub fn pull(model: &str, _: bool) -> blemish::Result<()> {
    blemish::Clip::load(model).map(|_| ())
}
