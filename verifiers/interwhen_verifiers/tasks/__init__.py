"""Tasks for ``interwhen bench compare``: problems that ``reasoning-gym`` generates, and grades by ``score_answer``."""
