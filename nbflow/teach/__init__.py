"""Teaching: labs that check themselves, quizzes whose answers come from the engine, and progress.

    checks      small values that look at a metastore and say what was expected, what was found, and a hint
    labs        the table of labs: which checks each exercise has
    lab         a lab in a notebook: `check(n)`
    folders     where labs, quizzes and notebooks lie, in a checkout and in a wheel
    questions   a quiz file as values, checked while it is read
    keys        answers that the engine itself gives: states, trigger rules, timetables
    quiz        a sitting: `answer(n, "b")`, the score
    quiz_form   the interactive form (needs the lab extra)
    display     feedback as cell output
    progress    what was tried and what was passed, kept in NBFLOW_HOME

A lab never runs anything by itself: it looks at what the student's own runs left in the metastore.
"""
