//! A model's one file.

use std::sync::Arc;

use super::super::matrix::Kind;
use super::super::model::{Model, ModelError, ModelType};
use super::super::score::Scorer;
use super::super::train::{Options, train};
use super::{Fault, Simulated, matrix, names, quick};

fn model(model_type: ModelType) -> Model {
    let rows = matrix(&Simulated::new(1).rows(500, Fault::None));
    train(&rows, &Options { model_type, ..quick() }, &mut |_, _| ()).unwrap().0
}

#[test]
fn a_loaded_model_scores_identically() {
    for model_type in [ModelType::Autoencoder, ModelType::Pca] {
        let model = model(model_type);
        let loaded = Model::load(&model.save().unwrap()).unwrap();
        assert_eq!(loaded, model);
        let (mut one, mut other) = (Scorer::new(Arc::new(model)), Scorer::new(Arc::new(loaded)));
        for (time, row) in Simulated::new(2).rows(100, Fault::None) {
            let (a, b) = (one.push(time, &row), other.push(time, &row));
            assert_eq!(a.score.map(f64::to_bits), b.score.map(f64::to_bits));
            assert_eq!(a.contributions, b.contributions);
        }
    }
}

#[test]
fn a_single_wrong_byte_is_refused() {
    let bytes = model(ModelType::Pca).save().unwrap();
    assert!(Model::load(&bytes).is_ok());
    // The whole header is too long to try: every 97th byte, and all of the last ones, which are weights.
    let places = (0..bytes.len()).step_by(97).chain(bytes.len() - 64..bytes.len());
    for place in places {
        let mut damaged = bytes.clone();
        damaged[place] ^= 0x10;
        assert!(Model::load(&damaged).is_err(), "byte {place} of {}", bytes.len());
    }
    for length in [0, 7, 8, 100, bytes.len() - 1] {
        let error = Model::load(&bytes[..length]).unwrap_err();
        assert!(error.to_string().contains("train it anew"), "{error}");
    }
}

#[test]
fn another_version_is_refused_with_advice() {
    let bytes = model(ModelType::Pca).save().unwrap();
    let change = |from: &str, to: &str| {
        let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
        [&bytes[..at], to.as_bytes(), &bytes[at + from.len()..]].concat()
    };
    let newer = change(r#"{\"version\":1,"#, r#"{\"version\":2,"#);
    assert_eq!(Model::load(&newer), Err(ModelError::Version { found: 2 }));
    assert!(ModelError::Version { found: 2 }.to_string().contains("use a newer howdah"));
    let older = change(r#"{\"version\":1,"#, r#"{\"version\":0,"#);
    assert_eq!(Model::load(&older), Err(ModelError::Version { found: 0 }));
}

#[test]
fn other_metrics_are_refused_by_the_first_that_differs() {
    let model = model(ModelType::Pca);
    assert_eq!(model.check(&names()), Ok(()));
    let refused = |change: fn(&mut Vec<(String, Kind)>)| {
        let mut metrics = names();
        change(&mut metrics);
        model.check(&metrics).unwrap_err().to_string()
    };
    assert!(refused(|metrics| metrics[1].0 = "seq_scan".into()).contains("seq_tup_read where seq_scan is"));
    assert!(refused(|metrics| metrics[0].1 = Kind::Gauge).contains("xact_commit was a Counter and is a Gauge"));
    assert!(refused(|metrics| metrics.swap(0, 1)).contains("xact_commit where seq_tup_read is"));
    assert!(refused(|metrics| drop(metrics.pop())).contains("9 where there are 8"));
}
