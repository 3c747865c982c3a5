//! False-alarm rates: their limits, and how many good photos they need.

use blemish::Error;
use blemish::profile::Calibration;

/// The lowest rate that is accepted. A lower rate needs a million good photos or more.
const LOWEST_RATE: f64 = 1e-6;

/// Reads a rate: a share such as `0.05`, or percent such as `5%`.
pub fn parse(text: &str) -> Result<f64, String> {
    let (number, factor) = match text.strip_suffix('%') {
        Some(percent) => (percent.trim_end(), 0.01),
        None => (text, 1.0),
    };
    let number: f64 = number.parse().map_err(|_| "give a share such as 0.05, or 5%".to_string())?;
    Ok(number * factor)
}

/// Refuses a rate outside the limits.
pub fn check_rate(rate: f64) -> blemish::Result<()> {
    if (LOWEST_RATE..1.0).contains(&rate) {
        return Ok(());
    }
    let why = "give a share of at least 0.000001 and below 1, such as 0.05 for 5 %";
    Err(Error::setting(format!("false-alarm {rate}"), why))
}

/// A rate in percent. It is rounded up, so that the text never promises too much.
fn percent(rate: f64) -> String {
    let percent = rate * 100.0;
    let digits = 10f64.powi((1.0 - percent.log10().floor()).max(2.0) as i32);
    format!("{} %", (percent * digits - 1e-9).ceil() / digits)
}

/// What the rate of one line can be, in words.
pub fn spread(photos: usize, rate: f64) -> Option<String> {
    let (low, high) = Calibration::interval(photos, rate)?;
    let round = |share: f64| match share * 100.0 {
        percent if percent < 9.95 => format!("{:.*}", if percent < 0.095 { 4 } else { 1 }, percent),
        percent => format!("{percent:.0}"),
    };
    let (low, high) = (round(low), round(high));
    Some(format!("with {photos} good photos the rate is {low} to {high} % (90 % probability)"))
}

/// Prints a note if there are too few good photos for a rate. It names the lowest rate that they allow.
pub fn say_what_is_promised(photos: usize, rate: f64) {
    let needed = Calibration::needed(rate);
    if photos >= needed {
        return;
    }
    let instead = match photos {
        0 => "there are none, so every photo is uncertain".to_string(),
        _ => format!(
            "there are {photos}, enough for {}. A photo that scores above all of them is uncertain. With \
             --false-alarm {:.3} it is ng",
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
    fn a_rate_may_be_in_percent() {
        assert_eq!([parse("0.05"), parse("5%"), parse("5 %")], [Ok(0.05), Ok(0.05), Ok(0.05)]);
        assert!(parse("five").is_err() && parse("%").is_err());
    }

    #[test]
    fn a_spread_is_told_in_percent() {
        let told = |photos, rate| spread(photos, rate).unwrap();
        assert_eq!(
            told(20, 0.05),
            "with 20 good photos the rate is 0.3 to 14 % (90 % probability)"
        );
        assert_eq!(
            told(99, 0.01),
            "with 99 good photos the rate is 0.0518 to 3.0 % (90 % probability)"
        );
        assert_eq!(spread(18, 0.05), None);
    }

    #[test]
    fn percents_are_never_less_than_the_rate() {
        for (rate, shown) in
            [(0.05, "5 %"), (1.0 / 17.0, "5.89 %"), (1e-6, "0.0001 %"), (0.5, "50 %")]
        {
            assert_eq!(percent(rate), shown);
        }
    }
}
