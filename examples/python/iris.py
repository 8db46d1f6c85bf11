"""Which iris is it? A scikit-learn model, served.

    pip install scikit-learn
    graphpipe serve examples/python/iris.py
    graphpipe infer 127.0.0.1:9000 'float32[1,4]:5.1,3.5,1.4,0.2'

It serves iris.joblib beside this file, what joblib.dump wrote of a fitted classifier; without
one it is trained here, on the 150 flowers that come with scikit-learn. Each process has a copy.
"""
import pathlib

import joblib
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

SAVED = pathlib.Path(__file__).with_name("iris.joblib")


class Model:
    description = "the species of an iris, by its sepals and petals in cm"
    inputs = {"flowers": ("float32", [-1, 4], "length and width of sepal, then of petal")}
    outputs = {"species": ("string", [-1]), "probabilities": ("float64", [-1, 3])}

    def load(self):
        flowers = load_iris()
        self.names = flowers.target_names
        if SAVED.exists():
            self.classifier = joblib.load(SAVED)
        else:
            self.classifier = LogisticRegression(max_iter=1000).fit(flowers.data, flowers.target)

    def infer(self, inputs):
        probabilities = self.classifier.predict_proba(inputs["flowers"])
        return {"species": self.names[probabilities.argmax(axis=1)],
                "probabilities": probabilities}
