"""Every setting with its default, unit and meaning. The defaults are the paper's knee MRI experiment (Dominic et al.).

The other files in this folder change some of these values and add no key. No value is None: a key of type None could
not be overridden on the command line. Ranges are checked by inpaint_ssl.config.resolve before anything is written.
"""

from ml_collections import ConfigDict


def _training() -> ConfigDict:
    """The keys that pretraining and fine-tuning share (paper, section 6.1.1)."""
    c = ConfigDict()
    c.batch_size = 9  # slices per step
    c.learning_rate = 1e-3  # initial (epoch_decay, constant) or peak (cosine) learning rate of Adam
    c.schedule = "epoch_decay"  # "epoch_decay" (the paper's) | "step_decay" | "cosine" (to 0 at max_steps) | "constant"
    c.decay_factor = 0.9  # epoch_decay, step_decay: the learning rate is multiplied by this ...
    c.decay_every_epochs = 2  # ... every so many epochs (epoch_decay)
    c.decay_every_steps = 500  # ... every so many steps (step_decay)
    c.learning_rate_floor = 1e-8  # epoch_decay and step_decay never go below this
    c.warmup_steps = 0  # cosine: steps of linear warm-up from 0
    c.min_steps_per_epoch = 0  # small sets are passed through several times, whole, until an epoch has so many steps
    c.max_epochs = 500  # epochs (passes over the training slices, see min_steps_per_epoch); 0 = no limit
    c.max_steps = 0  # steps; 0 = no limit (cosine needs a limit)
    c.validate_every_steps = 0  # steps between validations; 0 = once an epoch
    c.adam_b1 = 0.99
    c.adam_b2 = 0.995
    c.adam_eps = 1e-8
    c.early_stopping_patience = 10  # validations without improvement before training stops; 0 = never stop early
    c.early_stopping_min_delta = 1e-3  # smallest fall of the validation loss that counts as an improvement
    return c


def count_in_steps(section: ConfigDict, max_steps: int, validate_every: int) -> None:
    """Small data: a cosine schedule of a fixed number of steps, kept to its end, instead of the paper's epochs."""
    section.schedule = "cosine"
    section.max_epochs = 0
    section.max_steps = max_steps
    section.validate_every_steps = validate_every
    section.early_stopping_patience = 0


def get_config() -> ConfigDict:
    c = ConfigDict()
    c.study = ConfigDict()
    c.study.name = "knee_mri"  # first column of per_scan.csv, title of the report
    c.study.kind = (
        "comparison"  # "comparison" (pretrained against from scratch) | "arms" (of c.arms) | "transfer_grid" |
    )
    # "pretraining_grid" | "optimal_strategy" | "unlabelled_extent" | "clinical": configs/ says what each one asks
    c.study["from"] = ()  # folders of earlier studies: what their selection.json selected replaces settings of this one
    c.study.select_on = "validation"  # scans that settings are selected on: "validation" | "test" (as in the paper)
    c.study.measure_on = "auto"  # scans that runs are measured on: "validation" (for choosing settings; test scans stay
    # untouched) | "test" | "both" | "auto": test, of studies that select settings both
    c.study.one_seed_from = 0.0  # label fractions from this one on are trained with the first seed alone; 0 = none
    c.study.one_pretraining = False  # fine-tunings of every seed begin with the pretraining of the first seed
    c.arms = ()  # study.kind "arms": each "<name>: <setting>=<value> <setting>=<value>", an arm beside from_scratch,
    # with settings of its own; "start=fresh": it is not pretrained; "against=<arm>": what it is compared with
    c.scale = "full"  # what a config file with several sizes was asked for: "tiny" | "reduced" | "full"
    c.stage = "all"  # "all" | "pretrain" | "finetune" | "evaluate" | "report" | "gallery" (corruptions of one slice)
    c.seeds = (
        11725701,
    )  # one run per seed: initialisation, order of examples and corruption (default: the original code's)

    c.data = ConfigDict()
    c.data.format = "auto"  # "msd" | "nnunet" | "nifti" (a folder) | "skm_tea" | "dicom" | "phantom" (generated, needs
    # no root) | "auto": whichever of the first five the folder looks like
    c.data.root = ""  # folder of the data set
    c.data.unlabelled_roots = ()  # further folders of unlabelled scans for pretraining, each "<folder>" (format found
    # as by "auto") or "<format>:<folder>"
    c.data.modality = "mri"  # "mri" (z-score per volume) | "ct" (HU windows as channels, z-score per image and channel)
    c.data.labels = ()  # "nifti" and "dicom": what label files hold, "name=value" or "name=value+value" (a region)
    c.data.label_map = ()  # values of label files that are replaced when read: "255=1" or "3+4=2"
    c.data.subject_pattern = ""  # NIfTI: regular expression, searched in the scan id, whose group (or match) is the
    # subject; "" = every scan is a subject of its own
    c.data.scans_per_subject = 1  # NIfTI: scans whose numbers follow each other are one subject, 2: 2n-1 and 2n; the
    # number is what data.subject_pattern finds, without it the last one in the scan id
    c.data.hash_ids = True  # DICOM: scan and subject ids are salted hashes; False = as in the files
    c.data.id_salt_file = ""  # file with the salt of those hashes; "" = in the user's configuration folder, made once
    c.data.classes = ()  # () = every label of the data set; else "name=label+label", labels by name or value
    c.data.slice_axis = "sagittal"  # "sagittal" | "coronal" | "axial"
    c.data.image_size = (512, 512)  # (height, width) in pixels; slices are padded or cropped about their centre
    c.data.target_spacing_mm = ()  # (row, column) pixel spacing that slices are resampled to; () = as they are
    c.data.channels = "root_sum_of_squares"  # "all" (each channel of the scan) | "root_sum_of_squares" (one channel)
    c.data.hu_windows = ((400.0, 50.0), (1800.0, 40.0), (500.0, 50.0))  # CT: (width, level) in HU of each channel: soft
    # tissue, bone, custom (paper, section 2.2; the same group's later code has bone at 1800/400)
    c.data.geometry_tolerance_mm = 0.1  # largest distance between the corners of image and label grids
    c.data.use_unlabelled = True  # pretrain on unlabelled scans too
    c.data.prepared = ""  # folder of prepared data sets; "" = the folder "prepared" beside --workdir
    c.data.prepare_processes = 0  # that read scans in parallel; 0 = one for each core
    c.data.device_memory_fraction = 0.5  # of a device's memory, for training slices; larger sets are streamed
    c.data.device_dtype = "float32"  # of images on the device that are not integers: "float32" | "bfloat16" | "float16"
    c.data.stream_threads = 2  # threads that assemble batches when the training set is streamed
    c.data.stream_prefetch = 4  # batches assembled ahead of their use

    c.data.phantom = ConfigDict()  # generated scans of known truth
    c.data.phantom.anatomy = "knee"  # "knee" (two qDESS echoes) | "abdomen" (CT slices at the third lumbar vertebra)
    c.data.phantom.subjects = 40  # number of labelled subjects
    c.data.phantom.unlabelled_subjects = 0  # number of further subjects without labels
    c.data.phantom.size = (96, 96)  # voxels of a slice: (superior-inferior, anterior-posterior) or (rows, columns)
    c.data.phantom.slices = 24  # sagittal slices of a knee; an abdomen has one axial slice
    c.data.phantom.seed = 0  # seed of anatomy, shading and noise
    c.data.phantom.snr = 20.0  # signal over noise: femoral cartilage in echo 1; abdomen: 150 HU (muscle over fat)

    c.split = ConfigDict()
    c.split.file = (
        ""  # JSON with "train", "validation", "test" lists of subject (or scan) ids; "" = draw from fractions
    )
    c.split.method = (
        "auto"  # "fractions" | "official" (of the data set) | "k_fold" | "auto": official where there is one
    )
    c.split.folds = 5  # k_fold: number of folds of the labelled subjects ...
    c.split.fold = 0  # ... of which this one is the test set; validation is drawn from the rest by `fractions`
    c.split.fractions = (0.6, 0.15, 0.25)  # of the labelled subjects: training, validation, test
    c.split.split_seed = 0  # draws training, validation and test subjects
    c.split.subset_draw = 0  # draws the nested label subsets inside the training subjects
    c.split.draw_by_seed = False  # the second seed trains on the labels of draw subset_draw + 1, and so on
    c.split.label_fractions = (0.05, 0.1, 0.25, 0.5, 1.0)  # label subsets as fractions of the training subjects
    c.split.label_counts = ()  # subjects of each label subset, ordered as label_fractions; () = round the fractions

    c.split.pretraining_extents = ()  # nested pretraining sets to draw, as multiples of the training subjects: 1.0 is
    # these alone, 1.5 half as many unlabelled ones more (paper, section 2.6), 0.5 half of them; () = only what is used
    c.split.pretraining_extent = 0.0  # the one that is pretrained on; 0 = the training subjects and all unlabelled ones

    c.corruption = ConfigDict()  # paper, section 2.4
    c.corruption.task = "context_restoration"  # "context_restoration" (swap) | "context_prediction" (zero)
    c.corruption.patch_size = 32  # side K of the square patches in pixels
    c.corruption.sampling = "poisson_disc"  # "poisson_disc" | "random"
    c.corruption.area_fraction = 0.25  # smallest share of the region that is corrupted
    c.corruption.region = "image"  # where patches lie: "image" (anywhere, as in the paper) | "scan" (within the part of
    # the slice that is no padding; the whole image where that part is smaller than a patch, or two to swap)
    c.corruption.masks = "fresh"  # "fresh" (drawn for every image and step) | "bank" (made beforehand, as in the paper)
    c.corruption.bank_size = 100  # bank: number of masks; each is turned by 0, 90, 180 or 270 degrees at random
    c.corruption.bank_seed = 0  # bank: draws its masks, which serve every seed of the study
    c.corruption.bank_pairs = "fixed"  # bank, swapping Poisson-disc patches: "fixed" | "anew" for every image (as in
    # the original code; in the text of the paper the pairs are part of the mask)
    c.corruption.validation = "fixed"  # validation loss: always the same masks ("fixed") | "fresh" ones (original code)

    c.grid = ConfigDict()  # what the studies "transfer_grid", "pretraining_grid" and "optimal_strategy" try
    c.grid.learning_rates = (1e-2, 1e-3, 1e-4, 1e-5)  # initial ones, of both training runs (paper, section 6.2.1)
    c.grid.tasks = ("context_prediction", "context_restoration")
    c.grid.patch_sizes = (64, 32, 16, 8)  # pixels at 512 x 512; scaled to data.image_size, at least 1
    c.grid.samplings = ("poisson_disc", "random")

    c.model = ConfigDict()
    c.model.filters = (32, 64, 128, 256, 512)  # channels of each level of the U-Net, top to bottom
    c.model.groups = 16  # groups of every GroupNorm; divides every entry of filters
    c.model.dtype = "auto"  # of convolutions: "float32" | "bfloat16" | "auto" (bfloat16 on a GPU, float32 on a CPU);
    # parameters, losses and the statistics of GroupNorm stay float32
    c.model.conv_gradients = "auto"  # "derived" (by jax) | "canonical" (NHWC, HWIO) | "auto" (canonical on a CPU)

    c.pretrain = _training()
    c.pretrain.early_stopping_patience = 4
    c.pretrain.early_stopping_min_delta = 50.0  # at 512 x 512 pixels; scaled by image area
    c.finetune = _training()
    c.finetune.dice_epsilon = 1e-7  # of equation 2: a class absent from batch and prediction then has loss 0
    c.finetune.cross_entropy_weight = 0.0  # of the mean binary cross-entropy that is added to equation 2; 0 = none
    c.finetune.augmentation = "off"  # "off" | "light": every training slice is turned, scaled, shifted and changed in
    # contrast and brightness at random, anew at every step (inpaint_ssl/augmentation.py)

    c.transfer = ConfigDict()
    c.transfer.parts = ("encoder",)  # parameter subtrees that are transferred: "encoder", "decoder", and of a bundle
    # that segments the same classes "post_processing", the last convolution
    c.transfer.freeze = False  # the transferred parts do not change in the first training run
    c.transfer.learning_rate_factor = 1.0  # the transferred parts learn at the learning rate times this
    c.transfer.freeze_steps = 0  # the transferred parts do not change in the first steps of a training run
    c.transfer.second_learning_rate = 0.0  # initial rate of a second training run, in which nothing is frozen; 0 = none
    c.transfer.pretrained_study = ""  # folder of a study whose pretraining is used; "" = pretrain in this study
    c.transfer.pretrained = ""  # a bundle (experiments.bundle) that every seed starts from instead of a pretraining
    c.transfer.adapt_input = "refuse"  # input channels differ: "refuse" | "mean" (every channel gets the mean kernel) |
    # "repeat" (the kernels in turn); both are scaled so that equal channels give the same response as before

    c.evaluate = ConfigDict()
    c.evaluate.batch_size = 16  # slices per step of validation and evaluation
    c.evaluate.threshold = 0.5  # a pixel belongs to a class when its sigmoid reaches this
    c.evaluate.flips = ()  # "rows", "columns" or both: the sigmoids of the slice and of its flips along these axes are
    # averaged (not for classes that are a side of the body)
    c.evaluate.inpainting_examples = 6  # test slices kept as original / corrupted / restored pictures
    c.evaluate.corruption_gallery = True  # show one training slice corrupted in all 16 ways; takes 10 to 20 s

    # What clinicians read off a segmentation (paper, section 2.7); may change when a study is evaluated again.
    c.clinical = ConfigDict()
    c.clinical.t2_convention = "skm_tea"  # "skm_tea": voxels without a valid T2 are left out, T1 of menisci is 1000 ms
    # | "original_code": they count as 0 ms, T1 is 1200 ms everywhere
    c.clinical.t2_bounds_ms = (0.0, 100.0)  # T2 outside this closed interval is not valid
    c.clinical.t2_suppress_fat = True  # nor where echo 1 is at most 0.15 of its maximum in the scan ...
    c.clinical.t2_suppress_fluid = True  # ... or echo 1 - 1.2 * echo 2 at most 0.1 of its maximum
    c.clinical.t1_ms = ()  # "class=milliseconds": T1 of a class, in place of the convention's
    c.clinical.t2_invalid_share = 0.5  # a scan is flagged when more of a tissue's voxels than this have no valid T2
    c.clinical.intramuscular_fat = "off"  # CT: predicted muscle becomes intramuscular fat where HU are
    # "below_-30_hu" | "-190_to_-30_hu" (both ends included)
    c.clinical.muscle_class = "muscle"  # the classes of that rule
    c.clinical.intramuscular_fat_class = "intramuscular_fat"
    c.clinical.surface_distances = True  # ASSD and HD95 too

    c.statistics = ConfigDict()
    c.statistics.alpha = 0.05  # type-1 error of the one-sided tests (paper, section 2.8); intervals: 1 - alpha
    c.statistics.bootstrap_resamples = 10000  # resamples of the test subjects for the interval of a gain
    c.statistics.bootstrap_seed = 0

    # How training runs, not what is trained: results agree to rounding, and a study may go on with other values.
    c.engine = ConfigDict()
    c.engine.seeds = "auto"  # several seeds: "in_turn" (step by step) | "unroll" (one program) | "vmap" | "devices"
    # (each device some) | "auto": in_turn on a CPU, vmap on a GPU
    c.engine.driver = "jit"  # "jit" (sharded batches) | "shard_map" | "pmap"
    c.engine.devices = 0  # number of devices that share a batch; 0 = all
    c.engine.steps_per_call = 0  # training steps in one compiled call; 0 = 1 on a CPU, 5 on a GPU
    c.engine.checkpoint_every_steps = 0  # besides those at every validation; 0 = none
    c.engine.async_checkpoints = "auto"  # "on" | "off" | "auto": on a GPU, where training goes on during a save
    c.engine.compilation_cache = "auto"  # "auto" (in the user's cache folder) | "off" | a folder

    c.launcher = (
        "local"  # runs that may go side by side: "local" (processes on this machine) | "slurm" (jobs of a cluster)
    )
    c.workers = (
        0  # local: processes side by side; 0 = one for each GPU where there are several, else this process itself
    )
    c.slurm = ConfigDict()  # jobs of a SLURM cluster, which must see --workdir, the data and this installation
    c.slurm.partition = ""  # "" = the cluster's default
    c.slurm.account = ""  # that is charged; "" = the user's default
    c.slurm.jobs = 4  # at most so many jobs side by side
    c.slurm.time_minutes = 240  # of each job; one that runs out of it saves, and is queued again
    c.slurm.gpus = 1  # of each job; 0 = none
    c.slurm.cpus = 4  # processor cores of each job
    c.slurm.memory_gb = 32  # memory of each job
    c.slurm.setup = ()  # lines of shell run in each job before Python starts, such as "module load cuda"

    c.distributed = ConfigDict()  # several processes, on one machine or many; SLURM and Open MPI are recognised
    c.distributed.coordinator = ""  # address:port of process 0; "" = one process, or as SLURM or Open MPI say
    c.distributed.processes = 0  # number of processes
    c.distributed.process = 0  # index of this one

    c.deterministic = False  # GPU: the same bits in every run, at some cost; a CPU gives them anyway
    c.profile = False  # write a trace of steps 10 to 20 of every run for the JAX profiler (Perfetto, TensorBoard)
    c.log_every_steps = 25  # training steps between two rows of metrics.csv
    return c
