"""What readers are told of jobs: updates, and the board that holds the newest of each."""
