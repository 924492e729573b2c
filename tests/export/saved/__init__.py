"""Files of fitted estimators, by the version that wrote them."""
