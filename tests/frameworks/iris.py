"""A tabular model as users of the python engine write them. Trained when it is loaded, it is always
the same."""
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier

forest = RandomForestClassifier(n_estimators=20, random_state=1).fit(*load_iris(return_X_y=True))


def infer(inputs):
    (rows,) = inputs.values()
    return {"probabilities": forest.predict_proba(rows)}
