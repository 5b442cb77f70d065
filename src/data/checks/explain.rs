//! What each check is for: a paragraph that says what it finds, why that matters, and what to do.

/// The paragraph on a check, as `serin lint --explain CODE` prints it; `None` for a code that is none.
pub fn explanation(code: &str) -> Option<&'static str> {
    EXPLANATIONS
        .iter()
        .find(|(known, _)| *known == code)
        .map(|(_, text)| *text)
}

const EXPLANATIONS: &[(&str, &str)] = &[
    (
        "table.rows",
        "A row of the file is no row of the table: it has too few or too many fields, or text behind a closing quote. \
         Such rows are left out, and a delimiter that is not quoted often makes many of them, so by default one is \
         enough to reject. `lint.max_bad_rows` allows so many for each table.",
    ),
    (
        "table.skipped_rows",
        "Malformed rows were left out, no more than `lint.max_bad_rows` allows. Nothing is dropped in silence: they \
         are told with their lines.",
    ),
    (
        "table.empty",
        "A table has a header and no rows. There is nothing to train on; the export before this step has failed or \
         selected nothing.",
    ),
    (
        "table.min_rows",
        "The joined table has fewer rows than `lint.min_rows`. A model of too little data passes its gates by luck.",
    ),
    (
        "table.volume",
        "The joined table has far more or fewer rows than in the runs before: outside `lint.volume.at_least` and \
         `at_most` times the median of the last ones. A partition that is missing or was loaded twice shows here \
         first. The median is taken because one odd run must not move what is usual.",
    ),
    (
        "table.freshness",
        "The newest time in `lint.freshness.column` is older than `within`, so the data stopped coming; or it lies \
         more than a day ahead, which would hide how old the rest is. A date counts until its end.",
    ),
    (
        "table.duplicates",
        "Rows are equal to others in every column. They weigh double in training, and if one falls into the test part \
         the test asks what was learnt by heart. A join on a key that is not unique makes them.",
    ),
    (
        "schema.table",
        "The tables have one that the schema does not describe, so nothing is promised of it. Describe it in the \
         schema, or leave it out of `data.tables`.",
    ),
    (
        "schema.presence",
        "The schema describes a column that the table does not have. It was renamed or dropped upstream.",
    ),
    (
        "schema.extra",
        "The table has a column that the schema does not describe. It becomes a feature as it is: describe it, or put \
         it under `data.drop`.",
    ),
    (
        "schema.type",
        "A cell does not fit the type that the schema gives its column. Left alone it would be a missing value.",
    ),
    (
        "schema.rounded",
        "A number has more digits than a double of 64 bits holds: a whole number beyond 2^53, or a fraction of more than \
         17 digits. As a number it becomes the double next to it, so that ids that differ in their last digits become the \
         same. Such numbers are names: `type: category` in the schema keeps them as they are written.",
    ),
    (
        "schema.required",
        "A cell has no value in a column that the schema calls required.",
    ),
    (
        "schema.missing",
        "More cells of a column are missing than the schema allows.",
    ),
    (
        "schema.domain",
        "A cell holds a value that the schema does not list for its column: a new category, or one misspelt. If it is \
         new, `serin lint --update` adds it to the schema.",
    ),
    (
        "schema.length",
        "A text is shorter than the column's `min_length` or longer than its `max_length`, counted in characters: cut \
         off, or two fields run together.",
    ),
    (
        "schema.pattern",
        "A text does not match the column's expression in `matches`, which is about the whole text. A code is misspelt, \
         or comes from a system that writes it otherwise, and would join with nothing.",
    ),
    (
        "schema.range",
        "A number or a time lies outside of what the schema allows for its column: a unit mistaken, or a placeholder such as \
         -1 or 9999.",
    ),
    (
        "schema.unique",
        "A value stands twice in a column that the schema calls unique.",
    ),
    (
        "schema.key",
        "Values that the table's `unique` names stand together twice, as a customer and a day that should have one row. \
         Mostly an export was appended to itself. Rows that lack a part of the key are not compared.",
    ),
    (
        "schema.reference",
        "A column `references` one of another table, and holds a value which that one does not: a key without its \
         row. The tables are of different days, or rows were deleted on one side. Values are equal as texts, as in a \
         join; missing cells refer to nothing.",
    ),
    (
        "schema.rows",
        "The table has fewer rows than its `min_rows` or more than its `max_rows`. The export was cut off, selected \
         nothing, or was loaded twice.",
    ),
    (
        "config.column",
        "`serin.yaml` names a column that no table has, under `data.drop`, `data.split`, `validate.slices` or `lint`. \
         It is misspelt, or it is gone.",
    ),
    (
        "label.column",
        "No table has the column that `data.label` names: there is nothing to predict.",
    ),
    (
        "label.missing",
        "A row has no label. It can neither be learnt from nor be tested on: fill it upstream, or leave the row out.",
    ),
    (
        "label.classes",
        "The label cannot be learnt as it is: it has more classes than names are told apart by, or more than two where \
         `data.label.positive` names one of two.",
    ),
    (
        "label.unseen",
        "No row has a class that `data.label.positive` or the schema names. It is misspelt, or the selection upstream \
         left it out.",
    ),
    (
        "label.constant",
        "The label has the same value in every row, so that any model is right always and has learnt nothing.",
    ),
    (
        "label.imbalance",
        "One class of the label is more than 100 times as frequent as another. The rare one is hardly learnt, \
         accuracy says nothing of it, and the test part has few rows to measure it on. Judge by average precision or \
         recall, and gather more rows of the rare class.",
    ),
    (
        "join.key",
        "A table lacks a column that the tables are joined on.",
    ),
    (
        "join.collision",
        "A column that is no key stands in two tables, and it would not be clear which one is meant. Rename one.",
    ),
    (
        "join.empty_key",
        "A row's key is missing, so that it matches no row of another table.",
    ),
    (
        "join.duplicate_key",
        "A key stands twice in more than one table: the join would pair each with each and multiply rows.",
    ),
    (
        "join.unmatched",
        "Rows of a table have no partner in another. An inner join leaves them out, others fill with missing values. \
         Few are usual; many say that two exports are of different days.",
    ),
    (
        "join.empty",
        "No key stands in every table, so that the join leaves no rows. The keys are written differently: `007` and \
         `7` are two keys.",
    ),
    (
        "features.none",
        "Without the label and the dropped columns nothing is left to learn from.",
    ),
    (
        "join.multiplied",
        "The join makes more rows than the table with the label has, because a key stands several times in another \
         table. Each label is then learnt as often as its key stands there, and customers with much history count more. \
         Aggregate that table to a row for each key, or let it be where each row is a case of its own.",
    ),
    (
        "features.future",
        "A feature holds times that were not known yet: in the training part from the day on from which `data.split.time` \
         tests, or later than now. A column such as `closed_at` is filled in when the outcome is known; a model that \
         learns from it is right in the test and wrong in production. Drop it, or take what was known at the time.",
    ),
    (
        "split.entity",
        "Values of a column that the tables are joined on, or that is dropped as an id, stand in both parts of the split: \
         rows of the same customer, device or the like are learnt from and tested on. The metrics then tell how well \
         known ones are remembered. `data.split.by` puts all rows of a value into one part.",
    ),
    (
        "split.duplicates",
        "Rows of the test part have the same features as rows of the training part, in all columns but the label and the \
         dropped ones. Few columns with few values make that by themselves; else a table was put together twice, or an \
         event is stored several times, and the test asks what was learnt by heart.",
    ),
    (
        "features.constant",
        "A column has one value. It tells nothing; that it never varies is often a default written by a failed step.",
    ),
    (
        "features.missing",
        "A column has no value in any row. It tells nothing; the step that fills it has failed, or it is retired.",
    ),
    (
        "features.id",
        "A column of texts or whole numbers has a different value in nearly every row, at least 99 of 100. It tells \
         rows apart, and a model that learns it has learnt rows by heart. Put it under `data.drop`.",
    ),
    (
        "features.cardinality",
        "A column of texts has more than 1,000 different values, or more than 50 with fewer than five rows for each. \
         Most are too rare to learn from, and new ones come with every day. Group them, or keep what they stand for.",
    ),
    (
        "features.numeric_text",
        "At least 95 of 100 texts of a column read as numbers, booleans or times, so it was meant to be one of those; \
         the rest made it one of texts, which forgets the order of its values. The first such cell is named. Codes \
         with leading zeros are texts and are not meant.",
    ),
    (
        "features.mixed_types",
        "A part of a column's texts read as numbers, booleans or times and a part do not: two columns were put into \
         one, or two sources write it differently.",
    ),
    (
        "features.padded",
        "Texts have spaces around them. ` a` and `a` are two values to a model; trim them upstream.",
    ),
    (
        "features.outlier",
        "A number lies more than 100 times the distance of the quartiles beyond them. Long tails hardly go so far: a \
         unit mistaken or a placeholder such as 999999 does. Make it a missing value, or give the column a range in \
         the schema.",
    ),
    (
        "features.infinite",
        "A column holds infinite numbers, mostly from a division by zero. Learning breaks on them.",
    ),
    (
        "features.leakage",
        "A column alone tells more than 90 of 100 parts of the label's information, or is correlated with it by more \
         than 0.99. Seldom is the world so kind: the column is mostly written after the label, or made from it, and \
         will not be known when the model is asked. A feature that is just good looks the same, so this warns: drop the \
         column, or set the check to `reject` where no column should ever know so much.",
    ),
    (
        "features.label_name",
        "A column is named like the label, as `churn_date` is for `churn`. Such columns are often known only with the \
         label.",
    ),
    (
        "features.duplicate",
        "Two columns hold the same in nearly all rows, or one is the other's multiple. Importances are divided \
         between them, and when one drifts the other hides it. Drop one.",
    ),
    (
        "split.time",
        "A row has no date in the column that the split by time goes by, so it cannot be placed before or after.",
    ),
    (
        "split.empty",
        "The split leaves the training or the test part without rows.",
    ),
    (
        "split.class",
        "A class of the label is in one part of the split only. In the training part alone it is never tested, in the \
         test part alone it was never learnt.",
    ),
    (
        "split.label_shift",
        "The label is distributed otherwise in the test part than in the training part: their population stability \
         index is 0.1 or more, and chance gives that in less than one of 100 splits. The metrics of the test then \
         speak of another population. A split by time does that where the world changes; one by hash should not.",
    ),
    (
        "split.missing_column",
        "A column has values in one part of the split only: what is learnt from it cannot be tested, or what is \
         tested was not learnt. Columns that were added lately do this under a split by time.",
    ),
    (
        "drift.values",
        "The values of a column are distributed otherwise than in the baseline. Three things hold at once: the \
         population stability index is by `lint.drift.psi` (0.2) above what chance gives, a test (chi-square for \
         categories, Kolmogorov-Smirnov for numbers) says that chance does not explain it after the correction for \
         all columns (`lint.drift.fdr`, 0.05), and both sides have `lint.drift.min_rows` (200) rows. So a large table \
         is not rejected for what does not matter, nor a small one for noise. Set the threshold of one column, or \
         `off`, under `lint.drift.columns`. Times are judged only where they are named there.",
    ),
    (
        "drift.missing",
        "The share of missing cells of a column differs from the baseline's, by the same measure as values drift.",
    ),
    (
        "drift.slight",
        "A column drifts by more than half of the threshold, and chance does not explain it. Look before it is more.",
    ),
    (
        "drift.category",
        "A column holds values that the baseline does not have, or none of some that it has. It is only claimed where \
         every value was counted. A model takes what it has not learnt for unknown.",
    ),
    (
        "drift.columns",
        "A column is new against the baseline, gone, or of another type, so that its values are not compared.",
    ),
    (
        "drift.inconclusive",
        "There are fewer rows, or fewer cells with a value, than `lint.drift.min_rows` on one of the sides. Whatever the \
         difference, it may be chance: it is told and not judged.",
    ),
];

#[cfg(test)]
mod tests {
    use super::super::CHECKS;
    use super::*;

    #[test]
    fn every_check_and_nothing_else_is_explained() {
        for check in CHECKS {
            let text = explanation(check.code)
                .unwrap_or_else(|| panic!("{} is not explained", check.code));
            assert!(
                text.ends_with('.') && !text.contains("  "),
                "{}",
                check.code
            );
        }
        assert_eq!(EXPLANATIONS.len(), CHECKS.len());
        assert_eq!(explanation("features.idd"), None);
    }
}
