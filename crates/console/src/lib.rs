//! The admin API: the only part that knows JSON views and metric names.
