//! CLIP-AD against the official code. The maps and scores have unit tests in `detect/clip_ad.rs`.

mod common;

use blemish::clip::Taps;
use blemish::{Product, Prompts};
use common::{assert_close, golden, model, tensors, values};

#[test]
fn tokens_of_the_v_v_path_agree_with_the_official_code() {
    for activation in ["gelu", "quick_gelu"] {
        let golden = golden(&format!("sdp/{activation}.safetensors"));
        for layout in ["hf", "open_clip"] {
            let clip = model(&format!("clip/{activation}/{layout}"));
            for (stages, run, blocks) in [(4, "stages_3", &[3, 6][..]), (3, "stages_2", &[2, 4, 6])]
            {
                // The fixture of one activation has both.
                if !golden.contains_key(&format!("{run}.block_6")) {
                    continue;
                }
                for i in 0..3 {
                    let pixels = values(&golden["pixel_values"].get(i).unwrap());
                    let seen = |taps: Taps| clip.encode_image(&pixels, &taps).unwrap();
                    let alone = seen(Taps { v_v_stages: stages, ..Taps::default() });
                    // Windows and kept blocks change how the last block is computed.
                    let more = Taps {
                        v_v_stages: stages,
                        windows: vec![2],
                        blocks: vec![6],
                        ..Taps::default()
                    };
                    for features in [alone, seen(more)] {
                        assert_eq!(features.v_v.len(), blocks.len());
                        for (tokens, block) in features.v_v.iter().zip(blocks) {
                            let expected = golden[&format!("{run}.block_{block}")].get(i).unwrap();
                            assert_close(&format!("block {block}"), tokens, &expected);
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn prompts_are_those_of_the_official_code() {
    let expected = tensors("sdp/gelu.safetensors");
    let clip = model("clip/gelu/hf");
    let product = Product::new(&clip, "metal nut", &Prompts::open("clip-ad").unwrap()).unwrap();
    assert_close("normal", &product.normal().embeddings, &expected["prompts.normal"]);
    let anomalous = &product.kinds()[0].embeddings;
    assert_close("anomalous", anomalous, &expected["prompts.anomalous"]);
}
