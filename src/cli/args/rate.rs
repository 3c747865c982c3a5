//! False-alarm rates: what is one, and what a number of good photos can promise.

use blemish::Error;
use blemish::profile::Calibration;

/// The lowest rate that is taken: nobody has a million good photos.
const LOWEST_RATE: f64 = 1e-6;

/// Refuses what is no share.
pub fn check_rate(rate: f64) -> blemish::Result<()> {
    if (LOWEST_RATE..1.0).contains(&rate) {
        return Ok(());
    }
    let why = "give a share of at least 0.000001 and below 1, such as 0.05 for 5 %";
    Err(Error::setting(format!("false-alarm {rate}"), why))
}

/// A share in percent with two digits, rounded up so that what is promised is kept.
fn percent(rate: f64) -> String {
    let percent = rate * 100.0;
    let digits = 10f64.powi((1.0 - percent.log10().floor()).max(2.0) as i32);
    format!("{} %", (percent * digits - 1e-9).ceil() / digits)
}

/// Says so where there are too few good photos for a rate, and what they are enough for.
pub fn say_what_is_promised(photos: usize, rate: f64) {
    let needed = Calibration::needed(rate);
    if photos >= needed {
        return;
    }
    let instead = match photos {
        0 => "there is none, no line can be drawn, and every photo is uncertain".to_string(),
        _ => format!(
            "there are {photos}, enough for {}. A photo that scores above all of them is uncertain, and ng with \
             --false-alarm {:.3}",
            percent(Calibration::best(photos)),
            (Calibration::best(photos) * 1e3).ceil() / 1e3
        ),
    };
    say!(
        "note: a false-alarm rate of {} needs {needed} good photos (references and --calibrate together); {instead}",
        percent(rate)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percents_are_never_less_than_the_rate() {
        for (rate, shown) in
            [(0.05, "5 %"), (1.0 / 17.0, "5.89 %"), (1e-6, "0.0001 %"), (0.5, "50 %")]
        {
            assert_eq!(percent(rate), shown);
        }
    }
}
