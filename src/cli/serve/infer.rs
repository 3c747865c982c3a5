//! The messages of the Open Inference Protocol v2 over HTTP, with its extension for binary tensors.
//! (<https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol>)

use axum::body::Bytes;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::models::Model;
use super::queue::{Scored, Wants};

/// The length of the JSON part, if tensors follow it.
pub const HEADER: &str = "inference-header-content-length";

/// A request, read.
pub struct Inference {
    id: Option<String>,
    /// The encoded files.
    pub images: Vec<Bytes>,
    outputs: Vec<(Output, bool)>,
}

#[derive(Clone, Copy, PartialEq)]
enum Output {
    Score,
    PValue,
    Verdict,
    Peak,
    Map,
    Overlay,
}

/// All outputs: name, type, shape.
const OUTPUTS: [(Output, &str, &str, &[i64]); 6] = [
    (Output::Score, "score", "FP32", &[-1]),
    (Output::PValue, "p_value", "FP32", &[-1]),
    (Output::Verdict, "verdict", "BYTES", &[-1]),
    (Output::Peak, "peak", "INT32", &[-1, 2]),
    (Output::Map, "map", "FP32", &[-1, -1, -1]),
    (Output::Overlay, "overlay", "BYTES", &[-1]),
];
/// The maps of an answer have at most so many values.
const MOST_MAP: usize = 64_000_000;
/// What is sent if no output is named.
const USUAL: [Output; 4] = [Output::Score, Output::PValue, Output::Verdict, Output::Peak];

#[derive(Deserialize)]
struct Request {
    id: Option<String>,
    #[serde(default)]
    parameters: Parameters,
    inputs: Vec<Input>,
    #[serde(default)]
    outputs: Vec<Wanted>,
}

#[derive(Default, Deserialize)]
struct Parameters {
    binary_data_size: Option<usize>,
    binary_data: Option<bool>,
    binary_data_output: Option<bool>,
}

#[derive(Deserialize)]
struct Input {
    name: String,
    shape: Vec<usize>,
    datatype: String,
    #[serde(default)]
    parameters: Parameters,
    data: Option<Value>,
}

#[derive(Deserialize)]
struct Wanted {
    name: String,
    #[serde(default)]
    parameters: Parameters,
}

/// What a model takes and gives.
pub fn about(model: &Model) -> Value {
    let tensor = |name: &str, datatype: &str, shape: &[i64]| json!({ "name": name, "datatype": datatype, "shape": shape });
    let outputs = OUTPUTS.map(|(_, name, datatype, shape)| tensor(name, datatype, shape));
    json!({
        "name": model.name,
        "versions": [model.version],
        "platform": "blemish",
        "inputs": [tensor("image", "BYTES", &[-1])],
        "outputs": outputs,
    })
}

impl Inference {
    /// `json`: the length of the JSON part. None: all of it.
    pub fn read(body: &Bytes, json: Option<usize>) -> Result<Self, String> {
        let length = json.unwrap_or(body.len());
        let head = body.get(..length).ok_or(format!("{HEADER}: is longer than the request"))?;
        let request: Request = serde_json::from_slice(head)
            .map_err(|e| format!("the request is not understood: {e}"))?;
        let [image] = &request.inputs[..] else {
            return Err(format!("inputs: give one, image, and not {}", request.inputs.len()));
        };
        let images = image.read(&body.slice(length..))?;
        let all_binary = request.parameters.binary_data_output.unwrap_or(false);
        let mut outputs = Vec::new();
        for wanted in &request.outputs {
            let found = OUTPUTS.iter().find(|(_, name, ..)| *name == wanted.name);
            let (output, ..) = found.ok_or_else(|| {
                let names = OUTPUTS.map(|(_, name, ..)| name).join(", ");
                format!("output {:?}: there is none of this name; take {names}", wanted.name)
            })?;
            if outputs.iter().any(|(known, _)| known == output) {
                return Err(format!("output {:?}: is named twice", wanted.name));
            }
            outputs.push((*output, wanted.parameters.binary_data.unwrap_or(all_binary)));
        }
        if outputs.is_empty() {
            outputs = USUAL.map(|output| (output, all_binary)).to_vec();
        }
        Ok(Self { id: request.id, images, outputs })
    }

    pub fn wants(&self) -> Wants {
        let has = |output| self.outputs.iter().any(|(wanted, _)| *wanted == output);
        Wants { map: has(Output::Map), overlay: has(Output::Overlay) }
    }

    /// The answer: its bytes, and the length of the JSON part if tensors follow it.
    pub fn answer(
        &self,
        model: &Model,
        photos: &[Scored],
    ) -> Result<(Vec<u8>, Option<usize>), String> {
        let (mut outputs, mut binary, mut has_binary) = (Vec::new(), Vec::new(), false);
        for (output, is_binary) in &self.outputs {
            let (_, name, datatype, _) =
                OUTPUTS.iter().find(|(of, ..)| of == output).expect("all are listed");
            let (shape, values) = output.values(photos)?;
            let mut tensor = json!({ "name": name, "datatype": datatype, "shape": shape });
            match is_binary {
                true => {
                    has_binary = true;
                    let bytes = values.bytes();
                    tensor["parameters"] = json!({ "binary_data_size": bytes.len() });
                    binary.extend(bytes);
                }
                false => tensor["data"] = values.json(),
            }
            outputs.push(tensor);
        }
        let answer = Answer {
            model_name: &model.name,
            model_version: &model.version,
            id: self.id.as_deref(),
            outputs,
        };
        let mut bytes = serde_json::to_vec(&answer).map_err(|e| e.to_string())?;
        let length = bytes.len();
        bytes.extend(binary);
        Ok((bytes, has_binary.then_some(length)))
    }
}

#[derive(Serialize)]
struct Answer<'a> {
    model_name: &'a str,
    model_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    outputs: Vec<Value>,
}

impl Input {
    /// The encoded files. `binary`: what follows the JSON part.
    fn read(&self, binary: &Bytes) -> Result<Vec<Bytes>, String> {
        let fail = |why: String| Err(format!("input {:?}: {why}", self.name));
        if self.name != "image" || self.datatype != "BYTES" {
            return fail(format!("is {}; give image as BYTES", self.datatype));
        }
        let count = self.shape.iter().try_fold(1usize, |all, side| all.checked_mul(*side));
        let images = match (&self.data, self.parameters.binary_data_size) {
            (Some(data), None) => texts(data).and_then(|texts| {
                let decode = |text: &&str| STANDARD.decode(text).map(Bytes::from);
                let images: Result<Vec<Bytes>, _> = texts.iter().map(decode).collect();
                images.map_err(|e| format!("is not base64: {e}"))
            }),
            (None, Some(size)) if size == binary.len() => elements(binary),
            (None, Some(size)) => {
                Err(format!("has {} binary bytes and announces {size}", binary.len()))
            }
            _ => Err("has no data; give base64 in data, or binary data".into()),
        };
        let images = match images {
            Ok(images) => images,
            Err(why) => return fail(why),
        };
        if count != Some(images.len()) || images.is_empty() {
            return fail(format!("has {} files, and the shape {:?}", images.len(), self.shape));
        }
        Ok(images)
    }
}

/// All texts in nested lists.
fn texts(data: &Value) -> Result<Vec<&str>, String> {
    match data {
        Value::String(text) => Ok(vec![text]),
        Value::Array(all) => {
            let texts: Result<Vec<Vec<&str>>, String> = all.iter().map(texts).collect();
            Ok(texts?.concat())
        }
        _ => Err("is not base64 text".into()),
    }
}

/// The elements of a BYTES tensor: each has its length before it, in 4 bytes, little-endian.
fn elements(binary: &Bytes) -> Result<Vec<Bytes>, String> {
    let (mut elements, mut at) = (Vec::new(), 0);
    while at < binary.len() {
        let cut = || "its binary data is cut short".to_string();
        let length = binary.get(at..at + 4).ok_or_else(cut)?;
        let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
        let end = (at + 4).checked_add(length).filter(|end| *end <= binary.len());
        elements.push(binary.slice(at + 4..end.ok_or_else(cut)?));
        at += 4 + length;
    }
    Ok(elements)
}

/// The values of an output.
enum Values {
    Floats(Vec<f32>),
    Integers(Vec<i32>),
    Texts(Vec<&'static str>),
    Files(Vec<Vec<u8>>),
}

impl Output {
    /// Shape and values.
    fn values(self, photos: &[Scored]) -> Result<(Vec<usize>, Values), String> {
        let count = photos.len();
        let records = photos.iter().map(|photo| &photo.record);
        let floats = |values: Vec<f32>| Ok((vec![count], Values::Floats(values)));
        match self {
            Self::Score => floats(records.map(|record| record.score).collect()),
            Self::PValue => floats(
                records.map(|record| record.p_value.map_or(f32::NAN, |p| p as f32)).collect(),
            ),
            Self::Verdict => {
                let verdicts = records.map(|record| record.verdict.unwrap_or_default());
                Ok((vec![count], Values::Texts(verdicts.collect())))
            }
            Self::Peak => {
                let peaks = records.flat_map(|r| [r.peak_x as i32, r.peak_y as i32]);
                Ok((vec![count, 2], Values::Integers(peaks.collect())))
            }
            Self::Map => {
                let maps: Vec<_> = photos.iter().filter_map(|photo| photo.map.as_ref()).collect();
                let (width, height) = maps.first().map_or((0, 0), |map| (map.width, map.height));
                if maps.iter().any(|map| (map.width, map.height) != (width, height)) {
                    return Err("output map: the photos have several sizes; send one size".into());
                }
                if width * height * count > MOST_MAP {
                    let most = MOST_MAP / 1_000_000;
                    return Err(format!(
                        "output map: has more than {most} million values; send fewer photos"
                    ));
                }
                let values = maps.iter().flat_map(|map| &map.values).copied().collect();
                Ok((vec![count, height, width], Values::Floats(values)))
            }
            Self::Overlay => {
                let files = photos.iter().filter_map(|photo| photo.overlay.clone());
                Ok((vec![count], Values::Files(files.collect())))
            }
        }
    }
}

impl Values {
    /// NaN becomes null, files become base64.
    fn json(&self) -> Value {
        match self {
            Self::Floats(values) => json!(values),
            Self::Integers(values) => json!(values),
            Self::Texts(values) => json!(values),
            Self::Files(files) => files.iter().map(|file| STANDARD.encode(file)).collect(),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let with_lengths = |parts: &mut dyn Iterator<Item = &[u8]>| {
            let part = |part: &[u8]| [&(part.len() as u32).to_le_bytes(), part].concat();
            parts.flat_map(part).collect()
        };
        match self {
            Self::Floats(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::Integers(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::Texts(texts) => with_lengths(&mut texts.iter().map(|text| text.as_bytes())),
            Self::Files(files) => with_lengths(&mut files.iter().map(|file| &file[..])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str, binary: &[u8]) -> Result<Inference, String> {
        let body = [json.as_bytes(), binary].concat();
        Inference::read(&body.into(), Some(json.len()))
    }

    #[test]
    fn images_come_as_base64_or_binary() {
        let plain = r#"{"inputs":[{"name":"image","shape":[2],"datatype":"BYTES","data":["aGk=","eW8="]}]}"#;
        let found = Inference::read(&plain.into(), None).unwrap();
        assert_eq!(found.images, [&b"hi"[..], b"yo"]);
        assert!(found.outputs.len() == 4 && found.outputs.iter().all(|(_, binary)| !binary));
        let head = r#"{"parameters":{"binary_data_output":true},"inputs":[{"name":"image","shape":[1,1],
            "datatype":"BYTES","parameters":{"binary_data_size":6}}],"outputs":[{"name":"map"},
            {"name":"score","parameters":{"binary_data":false}}]}"#;
        let found = read(head, b"\x02\0\0\0hi").unwrap();
        assert_eq!(found.images, [&b"hi"[..]]);
        assert!(found.wants().map && !found.wants().overlay);
        assert_eq!(
            found.outputs.iter().map(|(_, binary)| *binary).collect::<Vec<_>>(),
            [true, false]
        );
    }

    #[test]
    fn mistakes_are_named() {
        let with = |shape: &str, rest: &str| {
            format!(
                r#"{{"inputs":[{{"name":"image","shape":{shape},"datatype":"BYTES",{rest}}}]}}"#
            )
        };
        let refused = |json: &str, binary: &[u8], why: &str| {
            let found = read(json, binary).err().unwrap();
            assert!(found.contains(why), "{found}");
        };
        refused("{}", b"", "not understood");
        refused(&with("[2]", r#""data":["aGk="]"#), b"", "has 1 files, and the shape [2]");
        refused(&with("[1]", r#""data":["%"]"#), b"", "not base64");
        refused(&with("[1]", r#""data":[1]"#), b"", "not base64 text");
        refused(&with("[0]", r#""data":[]"#), b"", "has 0 files");
        refused(&with("[9223372036854775807,9]", r#""data":["aGk="]"#), b"", "has 1 files");
        let binary = r#""parameters":{"binary_data_size":6}"#;
        refused(&with("[1]", binary), b"\x09\0\0\0hi", "cut short");
        refused(&with("[1]", binary), b"\xff\xff\xff\xffhi", "cut short");
        refused(&with("[1]", binary), b"\x02\0\0\0hihi", "has 8 binary bytes and announces 6");
        let unknown = r#""data":["aGk="]}],"outputs":[{"name":"heat"}],"x":[{"y":1"#;
        refused(&with("[1]", unknown), b"", "take score, p_value");
        assert!(Inference::read(&Bytes::from("{}"), Some(9)).is_err());
    }
}
