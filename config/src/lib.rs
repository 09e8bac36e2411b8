//! Settings declared once, under Kafka's own names.
