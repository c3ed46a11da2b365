use super::*;

/// 400 rows of three columns; the class follows from the first two, and the third is noise.
fn data() -> (Rows, Vec<f32>) {
    let mut rows = Rows::new();
    let mut labels = Vec::new();
    let mut state = 7_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 16_777_216.0
    };
    for _ in 0..400 {
        let (a, b, c) = (next(), next(), next());
        let missing = next() < 0.2;
        let class = if missing { 2.0 } else { f32::from(a + b > 1.0) };
        rows.push([(0, a), (1, b), (2, c)].into_iter().filter(|(column, _)| !(missing && *column == 1)));
        labels.push(class);
    }
    (rows, labels)
}

const SETTINGS: Settings = Settings {
    max_depth: 4,
    eta: 0.3,
    rounds: 20,
    column_share: 0.8,
    node_share: 1.0,
    min_child_weight: 1.0,
    seed: 7,
    threads: 1,
};

fn learn(objective: &Objective) -> (Rows, Vec<f32>, Vec<u8>) {
    let (rows, labels) = data();
    let weights = vec![1.0; labels.len()];
    let model = train(&rows, 3, &labels, &weights, objective, &SETTINGS, &mut |_| true).unwrap();
    (rows, labels, model)
}

#[test]
fn classes_are_learnt_and_the_same_seed_gives_the_same_bytes() {
    let (rows, labels, model) = learn(&Objective::Classes(3));
    assert_eq!(model, learn(&Objective::Classes(3)).2);
    let forest = Forest::read(&model).unwrap();
    let right = (0..rows.len()).filter(|at| {
        let margins = forest.margins(&rows.row(*at).collect::<Vec<_>>());
        let best = (0..3).max_by(|a, b| margins[*a].total_cmp(&margins[*b])).unwrap();
        best as f32 == labels[*at]
    });
    assert!(right.count() > 390);
}

#[test]
fn a_forest_predicts_as_xgboost_does() {
    for objective in [Objective::Classes(3), Objective::Quantiles(vec![0.5, 0.9])] {
        let (rows, _, model) = learn(&objective);
        let forest = Forest::read(&model).unwrap();
        let booster = Booster::load_buffer(&model).unwrap();
        let theirs = booster.predict_margin(&matrix(&rows, 3).unwrap()).unwrap();
        for (at, theirs) in theirs.chunks(forest.outputs()).enumerate() {
            let ours = forest.margins(&rows.row(at).collect::<Vec<_>>());
            for (ours, theirs) in ours.iter().zip(theirs) {
                assert!((ours - theirs).abs() < 1e-5, "{objective:?}, row {at}: {ours} and {theirs}");
            }
        }
    }
}

/// What XGBoost's Python package made of a fixed matrix: `tests/golden/xgboost/make.py`.
#[derive(serde::Deserialize)]
struct Recorded {
    columns: usize,
    rows: Vec<Vec<(u32, f32)>>,
    weights: Vec<f32>,
    classes: RecordedModel,
    quantiles: RecordedModel,
}

#[derive(serde::Deserialize)]
struct RecordedModel {
    labels: Vec<f32>,
    model: String,
    margins: Vec<Vec<f32>>,
}

#[test]
fn the_python_package_agrees() {
    let recorded: Recorded = serde_json::from_str(include_str!("../../../tests/golden/xgboost/parity.json")).unwrap();
    let mut rows = Rows::new();
    recorded.rows.iter().for_each(|row| rows.push(row.iter().copied()));
    let settings = Settings { max_depth: 3, rounds: 5, column_share: 1.0, ..SETTINGS };
    for (objective, theirs) in
        [(Objective::Classes(3), &recorded.classes), (Objective::Quantiles(vec![0.5, 0.9]), &recorded.quantiles)]
    {
        let weights = &recorded.weights;
        let own = train(&rows, recorded.columns, &theirs.labels, weights, &objective, &settings, &mut |_| true);
        // Theirs as we read it, and ours of the same matrix.
        for (whose, model) in [("theirs", theirs.model.as_bytes()), ("ours", &own.unwrap())] {
            let forest = Forest::read(model).unwrap();
            for (at, expected) in theirs.margins.iter().enumerate() {
                let margins = forest.margins(&rows.row(at).collect::<Vec<_>>());
                for (margin, expected) in margins.iter().zip(expected) {
                    assert!(
                        (margin - expected).abs() < 1e-5,
                        "{whose}, {objective:?}, row {at}: {margin} and {expected}"
                    );
                }
            }
        }
    }
}

#[test]
fn contributions_add_up_to_the_margin() {
    let (rows, _, model) = learn(&Objective::Classes(3));
    let forest = Forest::read(&model).unwrap();
    let explainer = Explainer::read(&model).unwrap();
    for row in [3, 4] {
        let row: Vec<_> = rows.row(row).collect();
        let contributions = explainer.contributions(&row, 3).unwrap();
        for (told, margin) in contributions.iter().zip(forest.margins(&row)) {
            assert!((told.iter().sum::<f32>() - margin).abs() < 1e-4, "{told:?} and {margin}");
        }
    }
}

#[test]
fn a_file_that_is_no_model_is_told() {
    for text in ["", "{}", "{\"learner\": {}}", "[1, 2]"] {
        assert!(matches!(Forest::read(text.as_bytes()), Err(BoostError::Unreadable(_))), "{text}");
    }
    let (.., model) = learn(&Objective::Classes(3));
    let text = String::from_utf8(model).unwrap();
    let endless = text.replacen("\"left_children\":[1", "\"left_children\":[0", 1);
    assert_ne!(text, endless);
    assert!(Forest::read(endless.as_bytes()).is_err());
}
