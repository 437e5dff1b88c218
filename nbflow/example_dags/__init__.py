"""Example DAGs, loaded with ``[core] load_examples``. Each shows one feature; none needs a service."""
