"""Training a run.

    run_equation      the noise of a run: its equation, or its ladder of levels
    run_network       the network of a run's settings
    run_sampler       the chain of a run's settings, and the score that it draws with
    run_conditions    the same where something of the images is known
    objective         how images are perturbed, and the loss on them
    diffusion_objective  the same at the times of an equation
    dequantization, dropout  noise of training, of the run's own stream
    optimizers        Adam as the reference uses it; those of Keras and Addons by name
    state             the variables of a run; its weights as one vector
    power_average     averages by powers of time, and how others are fitted by them
    step              the compiled step
    checkpoint_files  which checkpoints a run has, how one is written and removed
    checkpoint_reading  which of them can be read: the newest that is intact
    best_files        the best checkpoint and its figure, apart from the last ones
    checkpoint_choice  which run, and which of its checkpoints, is meant
    checkpoints       checkpoints that are opened, and the network in them
    average_files     snapshots of averages by powers of time
    average_summary   what a run has of them, and which lengths they give
    averages          networks whose weights are an average of any length
    run_lock          one process at a time writes the checkpoints of a run
    resume            a run's checkpoints as it trains
    hooks             what happens every so many steps: test loss, sample grid
    best              measures as it trains, and keeps the best checkpoint
    reporter          progress on the terminal and TensorBoard
    ending            what is saved and said when a signal asks for an end
    loop              all of it, from the first step to the last
    classifier        the classifier of noisy images: training and file
    schedule_choice   NCSNv2's noise levels for a data set

Serving, evaluation, the toy example, generation and commands import it.
"""
