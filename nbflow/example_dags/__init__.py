"""Example DAGs. They are loaded only with ``[core] load_examples``, each is one idea, and none needs a service."""
