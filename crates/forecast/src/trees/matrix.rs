//! The table of features that a forest is fitted to.

use crate::models::FitError;

/// Columns of features of equal length. NaN is "missing".
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matrix {
    rows: usize,
    columns: Vec<Vec<f32>>,
    categorical: Vec<bool>,
}

impl Matrix {
    /// A table of these columns, all of them numbers.
    ///
    /// # Errors
    /// [`FitError::Unsuitable`] when their lengths differ.
    pub fn new(columns: Vec<Vec<f32>>) -> Result<Matrix, FitError> {
        let rows = columns.first().map_or(0, Vec::len);
        if let Some(place) = columns.iter().position(|column| column.len() != rows) {
            let found = columns[place].len();
            return Err(FitError::Unsuitable(format!(
                "feature {place} has {found} rows, the first has {rows}"
            )));
        }
        Ok(Matrix { rows, categorical: vec![false; columns.len()], columns })
    }

    /// Says that a column holds codes whose order means nothing: it is fitted in the order of the target's mean in each
    /// category. A code that was not fitted is missing. Does nothing when there is no such column.
    #[must_use]
    pub fn categorical(mut self, column: usize) -> Matrix {
        if let Some(mark) = self.categorical.get_mut(column) {
            *mark = true;
        }
        self
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn width(&self) -> usize {
        self.columns.len()
    }

    /// The features of one row.
    pub fn row(&self, row: usize) -> Vec<f32> {
        self.columns.iter().map(|column| column[row]).collect()
    }

    /// One column.
    pub(super) fn column(&self, place: usize) -> &[f32] {
        &self.columns[place]
    }

    /// Whether a column holds categories.
    pub(super) fn is_categorical(&self, place: usize) -> bool {
        self.categorical[place]
    }
}
