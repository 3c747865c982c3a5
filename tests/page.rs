//! The page of `score --out`, `eval --out` and `enroll --page`, in Chromium.

mod common;

use std::path::Path;

use blemish::page::{Gallery, GalleryPhoto, Page, Pictures};
use common::blemish;
use common::browser::Browser;
use predicates::str::contains;
use serde_json::Value;

const DOWN: &str = "\u{e015}";
const ENTER: &str = "\u{e007}";
const ESCAPE: &str = "\u{e00c}";
const LEFT: &str = "\u{e012}";
const RIGHT: &str = "\u{e014}";

/// A grey photo with a grain, and with a dark spot if it is defective.
fn photo(file: &Path, seed: u32, is_defective: bool) {
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let picture = image::RgbImage::from_fn(96, 72, |x, y| {
        let grain = (x * 37 + y * 91 + seed * 17) % 23;
        let spot = is_defective && (x as i32 - 60).pow(2) + (y as i32 - 40).pow(2) < 90;
        image::Rgb([if spot { 5 } else { 120 + grain as u8 }, 110 + grain as u8, 100])
    });
    picture.save(file).unwrap();
}

/// The scores of the rows that are drawn, from top to bottom.
fn scores(browser: &Browser) -> Vec<f64> {
    let rows = "return [...document.querySelectorAll('.row')]
        .sort((a, b) => parseFloat(a.style.top) - parseFloat(b.style.top))
        .map((row) => parseFloat(row.querySelector('.score').textContent))";
    browser.run(rows).as_array().unwrap().iter().map(|score| score.as_f64().unwrap()).collect()
}

fn text(browser: &Browser, selector: &str) -> String {
    let text = browser.run(&format!("return document.querySelector('{selector}').textContent"));
    text.as_str().unwrap().to_string()
}

fn choose(browser: &Browser, id: &str, value: &str) {
    browser.run(&format!(
        "const field = document.getElementById('{id}'); field.value = '{value}';
         field.dispatchEvent(new Event('change')); field.dispatchEvent(new Event('input'));"
    ));
}

/// No error in the console, and no request that leaves this machine.
fn assert_quiet(browser: &Browser) {
    let (console, requests) = browser.logs();
    assert!(console.is_empty(), "{console:?}");
    assert!(!requests.is_empty());
    for address in requests {
        // Chromium's own first page asks for `chrome:` addresses.
        let is_here =
            ["file:", "data:", "blob:", "chrome"].iter().any(|kind| address.starts_with(kind));
        assert!(is_here, "{address}");
    }
}

#[test]
fn a_person_sorts_moves_the_line_marks_and_uses_the_marks() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    (0..20).for_each(|i| photo(&at(&format!("good/{i}.png")), i, false));
    (0..3).for_each(|i| photo(&at(&format!("photos/spot/{i}.png")), 50 + i, true));
    (0..6).for_each(|i| photo(&at(&format!("photos/plain/{i}.png")), 70 + i, false));
    // A name that would run a script if it were HTML.
    photo(&at("photos/<img src=x onerror=alert(1)>, \"1\".png"), 90, true);
    let run = |args: &[&str]| {
        let mut command = blemish(home.path());
        command.current_dir(home.path()).args(args).assert()
    };
    run(&[
        "enroll",
        "--product",
        "plate",
        "--reference",
        "good",
        "-o",
        "p.blemish",
        "--page",
        "p.html",
    ])
    .success();
    run(&["score", "photos", "--profile", "p.blemish", "--out", "out", "--copy-to", "sorted"])
        .success()
        .stderr(contains("see out/index.html"));
    let Some(browser) = Browser::start(&at("downloads")) else { return };
    browser.open(&at("out/index.html"));

    // Sorted by score, and the pictures are there.
    browser.wait("document.querySelectorAll('.row').length > 3");
    let sorted = scores(&browser);
    assert!(sorted.is_sorted_by(|a, b| a >= b), "{sorted:?}");
    browser.wait("[...document.images].every((i) => i.complete && i.naturalWidth > 0)");
    choose(&browser, "sort", "low");
    assert!(scores(&browser).is_sorted());
    choose(&browser, "sort", "high");

    // The strength of the map.
    choose(&browser, "strength", "30");
    assert_eq!(
        browser.run("return getComputedStyle(document.querySelector('.heat')).opacity"),
        "0.3"
    );

    // The counts are those of the run. Dragging the line to the left makes all ng, and one click undoes that.
    let verdicts = |counts: &str| {
        let number = |name: &str| -> usize {
            let part = counts.split(" · ").find(|part| part.contains(name));
            part.map_or(0, |part| part.split(' ').next().unwrap().parse().unwrap())
        };
        [number(" ok"), number(" ng"), number("uncertain")]
    };
    let of_run = ["ok", "ng", "uncertain"].map(|verdict| {
        std::fs::read_dir(at("sorted").join(verdict)).map_or(0, |_| {
            let files = walkdir::WalkDir::new(at("sorted").join(verdict)).into_iter();
            files
                .filter(|entry| {
                    entry.as_ref().unwrap().path().extension().is_some_and(|e| e == "png")
                })
                .count()
        })
    });
    assert_eq!(verdicts(&text(&browser, "#counts")), of_run);
    assert_eq!(of_run.iter().sum::<usize>(), 10);
    let handle = browser.run(
        "const box = document.querySelector('.handle path').getBoundingClientRect();
         return [box.x + box.width / 2, box.y + box.height / 2]",
    );
    let [x, y] = [0, 1].map(|i| handle[i].as_f64().unwrap());
    browser.drag((x, y), (30.0, y));
    assert_eq!(verdicts(&text(&browser, "#counts")), [0, 10, 0]);
    assert!(text(&browser, "#rate").contains("100.0 % of the good parts"));
    browser.run("document.getElementById('reset').click()");
    assert_eq!(verdicts(&text(&browser, "#counts")), of_run);

    // Keys: choose, look at it, mark, go on.
    browser.press(&format!("{DOWN}{ENTER}"));
    browser.wait("document.getElementById('full').open && document.querySelector('#stage .photo').naturalWidth === 96");
    assert_eq!(browser.run("return document.querySelectorAll('#stage .peak').length"), 1);
    browser.press(&format!("n{RIGHT}n{RIGHT}n{RIGHT}n{ESCAPE}"));
    browser.wait("!document.getElementById('full').open");
    browser.press(&format!("{DOWN}o{DOWN}o"));
    assert!(text(&browser, "#marked").starts_with("6 marked"), "{}", text(&browser, "#marked"));

    // The marks survive a reload, and become a file that the other commands read.
    browser.run("document.getElementById('save').click()");
    let csv = at("downloads/marks.csv");
    for _ in 0..100 {
        if csv.exists() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    browser.open(&at("out/index.html"));
    browser.wait("document.getElementById('marked').textContent.startsWith('6')");
    let marks = std::fs::read_to_string(&csv).unwrap();
    assert!(
        marks.starts_with("\u{feff}path,mark,score\n") && marks.lines().count() == 7,
        "{marks}"
    );
    assert!(marks.contains("<img src=x onerror=alert(1)>, \"\"1\"\".png\",ng"), "{marks}");
    run(&["enroll", "--product", "plate", "--marks", "downloads/marks.csv", "-o", "m.blemish"])
        .success()
        .stdout(contains("\"photos\":4"));
    run(&["eval", "folder", "photos", "--marks", "downloads/marks.csv", "--out", "ev"]).success();

    // Another language.
    choose(&browser, "language", "ko");
    assert_eq!(text(&browser, "#save"), "표시 저장 (CSV)");
    choose(&browser, "language", "en");

    // The pages of the other commands have the same parts.
    for (page, rows) in [("ev/report.html", 6), ("p.html", 20)] {
        browser.open(&at(page));
        browser.wait("document.querySelectorAll('.row').length > 0");
        browser.wait("[...document.images].every((i) => i.complete && i.naturalWidth > 0)");
        assert!(text(&browser, "#counts").starts_with(&format!("{rows} photos")), "{page}");
        assert!(browser.run("return document.querySelectorAll('section table').length") != 0);
    }
    assert_quiet(&browser);
}

#[test]
fn ten_thousand_photos_are_drawn_as_they_come_into_view() {
    let home = tempfile::tempdir().unwrap();
    let row = |i: u32| GalleryPhoto {
        path: format!("photos/{}/{i:05}.png", i % 7),
        score: (i * 7919 % 10_000) as f32 / 10_000.0,
        width: 10,
        height: 10,
        pictures: Pictures {
            thumb: "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA=".into(),
            ..Pictures::default()
        },
        ..GalleryPhoto::default()
    };
    let calibration = (0..1000).map(|i| i as f32 / 1100.0).collect();
    let rows = (0..10_000).map(row).collect();
    let gallery = Gallery { rows, calibration, ..Gallery::default() };
    let page = Page { title: "Many".into(), gallery, ..Page::default() };
    let file = home.path().join("index.html");
    std::fs::write(&file, page.html()).unwrap();
    let Some(browser) = Browser::start(home.path()) else { return };
    browser.open(&file);
    browser.wait("document.querySelectorAll('.row').length > 3");
    let few = |browser: &Browser| {
        let rows = browser.run("return document.querySelectorAll('.row').length");
        assert!(rows.as_u64().unwrap() < 30, "{rows} rows are drawn");
    };
    few(&browser);
    browser.run("scrollTo(0, document.body.scrollHeight)");
    browser.wait("document.querySelector('.row:last-child .score').textContent === '0.000'");
    few(&browser);
    // The line moves by keys, too.
    browser.run("document.querySelector('.handle').focus()");
    browser.press(LEFT);
    assert_ne!(browser.run("return document.getElementById('reset').disabled"), Value::Bool(true));
    assert_quiet(&browser);
}
