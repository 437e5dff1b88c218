"""Teaching: labs with automatic checks, quizzes whose answers the engine computes, and progress.

    checks              frozen checks of the metastore: expected, found, hint
    lab_registry        the labs, and the checks of each exercise
    lab                 a lab in a notebook: `lab.check(n)`
    content_folders     paths of labs, quizzes and notebooks, in a checkout and in a wheel
    quiz                reads and validates a quiz file
    computed_answers    answers that the engine computes: states, trigger rules, timetables
    quiz_session        answering a quiz: `quiz.answer(n, "b")`, the score
    quiz_form           the interactive form (ipywidgets, from the lab extra)
    display             feedback as cell output
    progress            tries and passed exercises, in NBFLOW_HOME
    commands            `nbflow labs` and `nbflow quiz`, `%lab` and `%quiz`

A lab runs nothing: it reads the metastore, which has the learner's runs.
"""
