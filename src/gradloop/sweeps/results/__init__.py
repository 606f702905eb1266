"""What has come of a sweep: leaderboard, verdicts, pictures, pages, TensorBoard's HParams."""
