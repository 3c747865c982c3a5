//! Both towers against the reference implementations, in both layouts and with both nonlinearities.

mod common;

use blemish::Clip;
use blemish::clip::Activation;
use blemish::clip::{ModelOptions, Taps};
use candle_core::{DType, Device};
use common::{assert_close, fixture, golden, model, model_with, tensors};

const LAYOUTS: [&str; 2] = ["hf", "open_clip"];
const ACTIVATIONS: [&str; 2] = ["gelu", "quick_gelu"];

fn check_images(clip: &Clip, activation: &str) {
    let golden = golden(&format!("clip/{activation}/expected.safetensors"));
    let taps = Taps { blocks: (0..=6).collect(), ..Taps::default() };
    for i in 0..3 {
        let pixels = common::values(&golden["pixel_values"].get(i).unwrap());
        let features = clip.encode_image(&pixels, &taps).unwrap();
        let expected = golden["image_embeds"].get(i).unwrap();
        assert_close("image embedding", &features.image, &expected);
        for (block, hidden) in features.blocks.iter().enumerate() {
            let expected = golden[&format!("hidden_states.{block}")].get(i).unwrap();
            assert_close(&format!("hidden state {block}"), hidden, &expected);
        }
        // Without a tap on the last block only the class token passes through it: the same embedding.
        let short = clip.encode_image(&pixels, &Taps::default()).unwrap();
        assert_close("image embedding by the short way", &short.image, &expected);
    }
}

#[derive(serde::Deserialize)]
struct Texts {
    texts: Vec<String>,
    ids: Vec<Vec<u32>>,
}

fn texts(path: &str) -> Texts {
    serde_json::from_slice(&std::fs::read(fixture(path)).unwrap()).unwrap()
}

#[test]
fn towers_agree_with_the_reference() {
    for activation in ACTIVATIONS {
        let golden = golden(&format!("clip/{activation}/expected.safetensors"));
        let texts = texts("clip/texts.json");
        for layout in LAYOUTS {
            eprintln!("{activation}, {layout}");
            let clip = model(&format!("clip/{activation}/{layout}"));
            check_images(&clip, activation);
            let embeddings = clip.encode_texts(&texts.texts).unwrap();
            assert_close("text embeddings", &embeddings, &golden["text_embeds"]);
        }
    }
}

#[test]
fn tokens_agree_id_for_id_and_a_cut_text_keeps_its_end() {
    for activation in ACTIVATIONS {
        let texts = texts("clip/texts.json");
        let padded = &golden(&format!("clip/{activation}/expected.safetensors"))["token_ids"];
        let padded: Vec<Vec<i64>> = padded.to_vec2().unwrap();
        for layout in LAYOUTS {
            let clip = model(&format!("clip/{activation}/{layout}"));
            let tokens = clip.tokenize(&texts.texts).unwrap();
            assert_eq!(tokens.len(), texts.ids.len());
            for (i, tokens) in tokens.iter().enumerate() {
                let (text, ids) = (&texts.texts[i], &texts.ids[i]);
                assert_eq!(tokens.cut, ids.len() > 32, "{text:?}");
                if !tokens.cut {
                    assert_eq!(&tokens.ids, ids, "{text:?}");
                }
                let mut with_padding: Vec<i64> = tokens.ids.iter().map(|&id| id.into()).collect();
                with_padding.resize(32, 0);
                assert_eq!(with_padding, padded[i], "{text:?}");
            }
        }
    }
}

#[test]
fn vocab_and_merges_tokenize_like_tokenizer_json() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors", "preprocessor_config.json"] {
        std::fs::copy(fixture("clip/gelu/hf").join(file), folder.path().join(file)).unwrap();
    }
    let json = std::fs::read(fixture("clip/gelu/hf/tokenizer.json")).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    std::fs::write(folder.path().join("vocab.json"), json["model"]["vocab"].to_string()).unwrap();
    let pair = |merge: &serde_json::Value| match merge {
        serde_json::Value::String(pair) => pair.clone(),
        pair => format!("{} {}", pair[0].as_str().unwrap(), pair[1].as_str().unwrap()),
    };
    let merges: Vec<String> =
        json["model"]["merges"].as_array().unwrap().iter().map(pair).collect();
    let merges = format!("#version: 0.2\n{}\n", merges.join("\n"));
    std::fs::write(folder.path().join("merges.txt"), merges).unwrap();

    let clip = Clip::load(folder.path().to_str().unwrap()).unwrap();
    let texts = texts("clip/texts.json").texts;
    let expected = model("clip/gelu/hf").tokenize(&texts).unwrap();
    assert_eq!(clip.tokenize(&texts).unwrap(), expected);
}

#[test]
fn pickles_and_shards_hold_the_same_model() {
    let golden = golden("clip/gelu/expected.safetensors");
    let pixels = common::values(&golden["pixel_values"].get(0).unwrap());
    let expected = model("clip/gelu/hf").encode_image(&pixels, &Taps::default()).unwrap().image;
    let check = |folder: &std::path::Path| {
        let clip = Clip::load(folder.to_str().unwrap()).unwrap();
        let image = clip.encode_image(&pixels, &Taps::default()).unwrap().image;
        assert_eq!(common::values(&image), common::values(&expected));
        clip
    };

    let pickle = tempfile::tempdir().unwrap();
    for file in ["open_clip_config.json", "open_clip_pytorch_model.bin", "tokenizer.json"] {
        std::fs::copy(fixture("clip/gelu/open_clip").join(file), pickle.path().join(file)).unwrap();
    }
    check(pickle.path());

    let sharded = tempfile::tempdir().unwrap();
    for file in ["config.json", "preprocessor_config.json", "tokenizer.json"] {
        std::fs::copy(fixture("clip/gelu/hf").join(file), sharded.path().join(file)).unwrap();
    }
    let mut shards = [std::collections::HashMap::new(), std::collections::HashMap::new()];
    let mut index = serde_json::Map::new();
    for (i, (name, tensor)) in tensors("clip/gelu/hf/model.safetensors").into_iter().enumerate() {
        index.insert(name.clone(), format!("model-{}.safetensors", i % 2).into());
        shards[i % 2].insert(name, tensor);
    }
    for (i, shard) in shards.iter().enumerate() {
        let path = sharded.path().join(format!("model-{i}.safetensors"));
        candle_core::safetensors::save(shard, path).unwrap();
    }
    let index = serde_json::json!({ "weight_map": index }).to_string();
    std::fs::write(sharded.path().join("model.safetensors.index.json"), index).unwrap();
    let clip = check(sharded.path());
    let all: Vec<u8> = (0..2)
        .flat_map(|i| std::fs::read(sharded.path().join(format!("model-{i}.safetensors"))).unwrap())
        .collect();
    use sha2::Digest;
    let hash: String = sha2::Sha256::digest(&all).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(clip.sha256(), hash);
}

#[test]
fn the_activation_can_be_overridden() {
    let golden = golden("clip/quick_gelu/expected.safetensors");
    let options =
        ModelOptions { activation: Some(Activation::QuickGelu), ..ModelOptions::default() };
    // Both golden models have the same weights.
    let clip = model_with("clip/gelu/hf", &options);
    check_images(&clip, "quick_gelu");
    assert_close(
        "text embeddings",
        &clip.encode_texts(&texts("clip/texts.json").texts).unwrap(),
        &golden["text_embeds"],
    );
}

#[test]
fn another_input_size_stretches_the_position_embedding() {
    let clip = model_with("clip/gelu/hf", &ModelOptions { size: Some(176), ..Default::default() });
    assert_eq!((clip.size(), clip.grid()), (176, 11));
    let features = clip.encode_image(&vec![0.1; 3 * 176 * 176], &Taps::default()).unwrap();
    assert_eq!(features.image.dims(), [40]);
    let error = Clip::open("tiny", &ModelOptions { size: Some(250), ..Default::default() });
    let message = error.err().unwrap().to_string();
    assert!(message.contains("--size 250") && message.contains("try 240 or 256"), "{message}");
}

#[test]
fn candle_transformers_agrees_on_quick_gelu() {
    use candle_transformers::models::clip::{ClipConfig, ClipModel, text_model, vision_model};
    let activation = text_model::Activation::QuickGelu;
    let config = ClipConfig {
        text_config: text_model::ClipTextConfig {
            vocab_size: 512,
            embed_dim: 48,
            activation,
            intermediate_size: 192,
            max_position_embeddings: 32,
            pad_with: None,
            num_hidden_layers: 3,
            num_attention_heads: 4,
            projection_dim: 40,
        },
        vision_config: vision_model::ClipVisionConfig {
            embed_dim: 64,
            activation,
            intermediate_size: 256,
            num_hidden_layers: 6,
            num_attention_heads: 4,
            projection_dim: 40,
            num_channels: 3,
            image_size: 112,
            patch_size: 16,
        },
        logit_scale_init_value: 4.6,
        image_size: 112,
    };
    let file = fixture("clip/quick_gelu/hf/model.safetensors");
    let weights = std::fs::read(file).unwrap();
    let weights =
        candle_nn::VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu)
            .unwrap();
    let theirs = ClipModel::new(weights, &config).unwrap();
    let golden = golden("clip/quick_gelu/expected.safetensors");
    let ours = model("clip/quick_gelu/hf");

    let pixels = golden["pixel_values"].get(1).unwrap();
    let image = theirs.get_image_features(&pixels.unsqueeze(0).unwrap()).unwrap().get(0).unwrap();
    let features = ours.encode_image(&common::values(&pixels), &Taps::default()).unwrap();
    assert_close("image embedding", &features.image, &image);

    let ids = golden["token_ids"].narrow(0, 0, 28).unwrap().to_dtype(DType::U32).unwrap();
    let text = theirs.get_text_features(&ids).unwrap();
    let words = &texts("clip/texts.json").texts[..28];
    assert_close("text embeddings", &ours.encode_texts(words).unwrap(), &text);
}
