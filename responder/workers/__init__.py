"""Each worker reads rows, calls one function below, writes rows, and can be killed between any two lines."""
