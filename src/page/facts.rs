//! How a run was made.

use serde_json::Value;

/// How a run was made, from one of its results: names and values.
pub fn facts(row: &Value) -> Vec<(String, String)> {
    let text = |field: &str| row[field].as_str().unwrap_or("-").to_string();
    let short = |field: &str| text(field).chars().take(12).collect::<String>();
    let mut facts = vec![
        ("product".to_string(), text("product")),
        ("method".into(), text("method")),
        ("model".into(), format!("{} (SHA-256 {}…)", text("model"), short("model_sha256"))),
        ("input".into(), format!("{} pixels, {}", row["size"], text("fit"))),
        ("precision".into(), text("precision")),
    ];
    if row["region"].is_string() {
        facts.push(("region of interest".into(), text("region")));
    }
    if row["profile"].is_string() {
        let profile = format!("{} (SHA-256 {}…)", text("profile"), short("profile_sha256"));
        facts.push(("profile".into(), profile));
        let references = format!("{}, compared by {}", row["references"], text("reference_method"));
        facts.push(("references".into(), references));
    }
    if let Some(rate) = row["false_alarm"].as_f64() {
        let (percent, photos) = (rate * 100.0, &row["calibration_photos"]);
        facts.push(("line".into(), format!("{percent} % false alarms, from {photos} good photos")));
    }
    if let Some(against) = row["folder"]["against"].as_u64() {
        let why = "each score depends on the other photos (transductive)";
        facts.push(("compared with".into(), format!("{against} other photos: {why}")));
    }
    facts.push(("made by".into(), format!("blemish {}", env!("CARGO_PKG_VERSION"))));
    facts
}
