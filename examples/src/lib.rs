//! Runnable examples; each starts an embedded broker where RKAFKA_BOOTSTRAP is unset.
