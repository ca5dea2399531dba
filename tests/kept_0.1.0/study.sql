BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('v3.2.0.a');
CREATE TABLE studies (
	study_id INTEGER NOT NULL, 
	study_name VARCHAR(512) NOT NULL, 
	PRIMARY KEY (study_id)
);
INSERT INTO "studies" VALUES(1,'kept');
CREATE TABLE study_directions (
	study_direction_id INTEGER NOT NULL, 
	direction VARCHAR(8) NOT NULL, 
	study_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	PRIMARY KEY (study_direction_id), 
	UNIQUE (study_id, objective), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_directions" VALUES(1,'MAXIMIZE',1,0);
CREATE TABLE study_system_attributes (
	study_system_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_system_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
CREATE TABLE study_user_attributes (
	study_user_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_user_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_user_attributes" VALUES(1,1,'n_trials','4');
INSERT INTO "study_user_attributes" VALUES(2,1,'folder','"kept"');
INSERT INTO "study_user_attributes" VALUES(3,1,'config','"{\"seed\": 0, \"trials\": 1, \"epochs\": 30, \"patience\": null, \"selection\": \"validation\", \"target_train_accuracy\": null, \"dataset.name\": \"digits\", \"dataset.time_steps\": 4, \"dataset.test_time_steps\": null, \"dataset.bin_ms\": null, \"dataset.window\": \"full\", \"dataset.input_shape\": [1, 8, 8], \"dataset.classes\": 10, \"dataset.validation_fraction\": 0.1, \"dataset.limit\": 16, \"dataset.target_peak\": null, \"dataset.target_step\": null, \"model.topology\": \"2Conv3-AP2-18Dense10\", \"model.zero_bias\": false, \"loss.correct_rate\": 0.8, \"loss.incorrect_rate\": 0.2, \"mode.name\": \"annealed\", \"mode.binarize\": true, \"mode.anneal\": true, \"fidelity.name\": \"paper\", \"fidelity.surrogate\": \"clamped\", \"fidelity.spike\": \"at_threshold\", \"fidelity.init\": \"pytorch\", \"fidelity.weight_clip\": \"weights_after_step\", \"fidelity.trial_seed\": \"seed_plus_trial\", \"optimizer.name\": \"adam\", \"optimizer.lr\": 0.003, \"optimizer.momentum\": 0.0, \"optimizer.betas\": [0.9, 0.999], \"hparams.name\": \"digits_annealed\", \"hparams.dataset\": \"digits\", \"hparams.mode\": \"annealed\", \"hparams.beta\": 0.9, \"hparams.slope\": 0.5, \"hparams.batch_size\": 32, \"hparams.dropout\": [0.0], \"hparams.batch_norm\": true, \"hparams.grad_clip\": null, \"hparams.weight_clip\": null, \"hparams.cosine_epochs\": 30.0, \"hparams.threshold.start\": [3.0, 3.0], \"hparams.threshold.rise\": [3.0, 6.0], \"hparams.threshold.rate\": [0.01, 0.01], \"search.study_name\": \"kept\", \"search.epochs\": 2, \"search.limit\": 16, \"search.seeds\": 1, \"search.pruner\": \"median\", \"search.pruners.none._target_\": \"optuna.pruners.NopPruner\", \"search.pruners.median._target_\": \"optuna.pruners.MedianPruner\", \"search.pruners.median.n_startup_trials\": 10, \"search.pruners.median.n_warmup_steps\": 3, \"search.pruners.hyperband._target_\": \"optuna.pruners.HyperbandPruner\", \"search.pruners.hyperband.min_resource\": 1, \"search.pruners.hyperband.max_resource\": 2, \"search.pruners.hyperband.reduction_factor\": 3, \"search.space.beta.key\": \"hparams.beta\", \"search.space.beta.low\": 0.05, \"search.space.beta.high\": 0.999, \"search.space.beta.log\": false, \"search.space.beta.choices\": [], \"search.space.beta.each\": null, \"search.space.beta.when\": null, \"search.space.beta.datasets\": [], \"search.space.beta.modes\": [], \"search.space.slope.key\": \"hparams.slope\", \"search.space.slope.low\": 0.05, \"search.space.slope.high\": 20.0, \"search.space.slope.log\": true, \"search.space.slope.choices\": [], \"search.space.slope.each\": null, \"search.space.slope.when\": null, \"search.space.slope.datasets\": [], \"search.space.slope.modes\": [], \"search.space.lr.key\": \"optimizer.lr\", \"search.space.lr.low\": 5e-05, \"search.space.lr.high\": 0.05, \"search.space.lr.log\": true, \"search.space.lr.choices\": [], \"search.space.lr.each\": null, \"search.space.lr.when\": null, \"search.space.lr.datasets\": [], \"search.space.lr.modes\": [], \"search.space.grad_clip.key\": \"hparams.grad_clip\", \"search.space.grad_clip.low\": null, \"search.space.grad_clip.high\": null, \"search.space.grad_clip.log\": false, \"search.space.grad_clip.choices\": [\"null\", 1.0], \"search.space.grad_clip.each\": null, \"search.space.grad_clip.when\": null, \"search.space.grad_clip.datasets\": [], \"search.space.grad_clip.modes\": [], \"search.space.weight_clip.key\": \"hparams.weight_clip\", \"search.space.weight_clip.low\": null, \"search.space.weight_clip.high\": null, \"search.space.weight_clip.log\": false, \"search.space.weight_clip.choices\": [\"null\", 1.0], \"search.space.weight_clip.each\": null, \"search.space.weight_clip.when\": null, \"search.space.weight_clip.datasets\": [], \"search.space.weight_clip.modes\": [], \"search.space.batch_norm.key\": \"hparams.batch_norm\", \"search.space.batch_norm.low\": null, \"search.space.batch_norm.high\": null, \"search.space.batch_norm.log\": false, \"search.space.batch_norm.choices\": [true, false], \"search.space.batch_norm.each\": null, \"search.space.batch_norm.when\": \"convolution\", \"search.space.batch_norm.datasets\": [], \"search.space.batch_norm.modes\": [], \"search.space.dropout.key\": \"hparams.dropout\", \"search.space.dropout.low\": 0.0, \"search.space.dropout.high\": 0.9, \"search.space.dropout.log\": false, \"search.space.dropout.choices\": [], \"search.space.dropout.each\": \"dense\", \"search.space.dropout.when\": null, \"search.space.dropout.datasets\": [], \"search.space.dropout.modes\": [], \"search.space.optimizer.key\": \"optimizer.name\", \"search.space.optimizer.low\": null, \"search.space.optimizer.high\": null, \"search.space.optimizer.log\": false, \"search.space.optimizer.choices\": [\"adam\", \"sgd\"], \"search.space.optimizer.each\": null, \"search.space.optimizer.when\": null, \"search.space.optimizer.datasets\": [\"fashion_mnist\"], \"search.space.optimizer.modes\": [], \"search.space.momentum.key\": \"optimizer.momentum\", \"search.space.momentum.low\": 0.0, \"search.space.momentum.high\": 0.99, \"search.space.momentum.log\": false, \"search.space.momentum.choices\": [], \"search.space.momentum.each\": null, \"search.space.momentum.when\": \"sgd\", \"search.space.momentum.datasets\": [\"fashion_mnist\"], \"search.space.momentum.modes\": [], \"search.space.theta.key\": \"hparams.threshold.start\", \"search.space.theta.low\": 0.5, \"search.space.theta.high\": 60.0, \"search.space.theta.log\": true, \"search.space.theta.choices\": [], \"search.space.theta.each\": \"layer\", \"search.space.theta.when\": null, \"search.space.theta.datasets\": [], \"search.space.theta.modes\": [\"flt32\", \"bsnn\"], \"search.space.start.key\": \"hparams.threshold.start\", \"search.space.start.low\": 0.5, \"search.space.start.high\": 25.0, \"search.space.start.log\": false, \"search.space.start.choices\": [], \"search.space.start.each\": \"layer\", \"search.space.start.when\": null, \"search.space.start.datasets\": [], \"search.space.start.modes\": [\"annealed\"], \"search.space.rise.key\": \"hparams.threshold.rise\", \"search.space.rise.low\": 0.5, \"search.space.rise.high\": 60.0, \"search.space.rise.log\": true, \"search.space.rise.choices\": [], \"search.space.rise.each\": \"layer\", \"search.space.rise.when\": null, \"search.space.rise.datasets\": [], \"search.space.rise.modes\": [\"annealed\"], \"search.space.rate.key\": \"hparams.threshold.rate\", \"search.space.rate.low\": 1e-06, \"search.space.rate.high\": 0.5, \"search.space.rate.log\": true, \"search.space.rate.choices\": [], \"search.space.rate.each\": \"layer\", \"search.space.rate.when\": null, \"search.space.rate.datasets\": [], \"search.space.rate.modes\": [\"annealed\"], \"command line\": \"\", \"hydra.sweeper.sampler\": {\"_target_\": \"optuna.samplers.TPESampler\", \"seed\": null, \"consider_prior\": null, \"prior_weight\": null, \"consider_magic_clip\": null, \"consider_endpoints\": null, \"n_startup_trials\": 10, \"n_ei_candidates\": 24, \"multivariate\": false, \"group\": false, \"warn_independent_sampling\": null, \"constant_liar\": true, \"constraints_func\": null}}"');
INSERT INTO "study_user_attributes" VALUES(4,1,'overrides','["backend=reference", "dataset.time_steps=4", "model.topology=2Conv3-AP2-18Dense10"]');
CREATE TABLE trial_heartbeats (
	trial_heartbeat_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	heartbeat DATETIME NOT NULL, 
	PRIMARY KEY (trial_heartbeat_id), 
	UNIQUE (trial_id), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_heartbeats" VALUES(1,1,'2026-11-25 10:45:58');
INSERT INTO "trial_heartbeats" VALUES(2,2,'2026-11-25 10:46:07');
INSERT INTO "trial_heartbeats" VALUES(3,3,'2026-11-25 10:46:09');
INSERT INTO "trial_heartbeats" VALUES(4,4,'2026-11-25 10:46:12');
CREATE TABLE trial_intermediate_values (
	trial_intermediate_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	step INTEGER NOT NULL, 
	intermediate_value FLOAT, 
	intermediate_value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_intermediate_value_id), 
	UNIQUE (trial_id, step), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_intermediate_values" VALUES(1,1,1,12.5,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(2,1,2,12.5,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(3,2,1,12.5,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(4,2,2,12.5,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(5,3,1,12.5,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(6,3,2,12.5,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(7,4,1,12.5,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(8,4,2,12.5,'FINITE');
CREATE TABLE trial_params (
	param_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	param_name VARCHAR(512), 
	param_value FLOAT, 
	distribution_json TEXT, 
	PRIMARY KEY (param_id), 
	UNIQUE (trial_id, param_name), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_params" VALUES(1,1,'hparams.beta',5.58283781847334625858e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.05, "high": 0.999, "log": false}}');
INSERT INTO "trial_params" VALUES(2,1,'hparams.slope',1.50261852601083334413e+00,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.05, "high": 20.0, "log": true}}');
INSERT INTO "trial_params" VALUES(3,1,'optimizer.lr',1.78548847881490575307e-04,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 5e-05, "high": 0.05, "log": true}}');
INSERT INTO "trial_params" VALUES(4,1,'hparams.grad_clip',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["null", 1.0]}}');
INSERT INTO "trial_params" VALUES(5,1,'hparams.weight_clip',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["null", 1.0]}}');
INSERT INTO "trial_params" VALUES(6,1,'hparams.batch_norm',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [true, false]}}');
INSERT INTO "trial_params" VALUES(7,1,'hparams.dropout.0',7.97858041791226768602e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 0.9, "log": false}}');
INSERT INTO "trial_params" VALUES(8,1,'hparams.threshold.start.0',8.24897761821453689989e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.5, "high": 25.0, "log": false}}');
INSERT INTO "trial_params" VALUES(9,1,'hparams.threshold.start.1',7.80555450993560651085e+00,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.5, "high": 25.0, "log": false}}');
INSERT INTO "trial_params" VALUES(10,1,'hparams.threshold.rise.0',2.89621719946472344631e+00,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.5, "high": 60.0, "log": true}}');
INSERT INTO "trial_params" VALUES(11,1,'hparams.threshold.rise.1',5.72407896766637307433e+01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.5, "high": 60.0, "log": true}}');
INSERT INTO "trial_params" VALUES(12,1,'hparams.threshold.rate.0',5.69936990465125e-06,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-06, "high": 0.5, "log": true}}');
INSERT INTO "trial_params" VALUES(13,1,'hparams.threshold.rate.1',9.75447283450697429953e-04,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-06, "high": 0.5, "log": true}}');
INSERT INTO "trial_params" VALUES(14,2,'hparams.beta',0.973588674946223,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.05, "high": 0.999, "log": false}}');
INSERT INTO "trial_params" VALUES(15,2,'hparams.slope',4.3787267980220828667e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.05, "high": 20.0, "log": true}}');
INSERT INTO "trial_params" VALUES(16,2,'optimizer.lr',4.27152019277493855131e-02,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 5e-05, "high": 0.05, "log": true}}');
INSERT INTO "trial_params" VALUES(17,2,'hparams.grad_clip',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["null", 1.0]}}');
INSERT INTO "trial_params" VALUES(18,2,'hparams.weight_clip',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["null", 1.0]}}');
INSERT INTO "trial_params" VALUES(19,2,'hparams.batch_norm',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [true, false]}}');
INSERT INTO "trial_params" VALUES(20,2,'hparams.dropout.0',6.42260325196911119327e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 0.9, "log": false}}');
INSERT INTO "trial_params" VALUES(21,2,'hparams.threshold.start.0',1.5240522894372622531e+01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.5, "high": 25.0, "log": false}}');
INSERT INTO "trial_params" VALUES(22,2,'hparams.threshold.start.1',5.65090694663203230163e+00,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.5, "high": 25.0, "log": false}}');
INSERT INTO "trial_params" VALUES(23,2,'hparams.threshold.rise.0',1.34222031096492298016e+01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.5, "high": 60.0, "log": true}}');
INSERT INTO "trial_params" VALUES(24,2,'hparams.threshold.rise.1',6.85755772449319733752e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.5, "high": 60.0, "log": true}}');
INSERT INTO "trial_params" VALUES(25,2,'hparams.threshold.rate.0',6.56350120145136710358e-03,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-06, "high": 0.5, "log": true}}');
INSERT INTO "trial_params" VALUES(26,2,'hparams.threshold.rate.1',9.28250810134037692387e-05,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-06, "high": 0.5, "log": true}}');
INSERT INTO "trial_params" VALUES(27,3,'hparams.beta',5.84585019063070698841e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.05, "high": 0.999, "log": false}}');
INSERT INTO "trial_params" VALUES(28,3,'hparams.slope',7.88176774329732710011e-02,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.05, "high": 20.0, "log": true}}');
INSERT INTO "trial_params" VALUES(29,3,'optimizer.lr',0.0444630479006134,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 5e-05, "high": 0.05, "log": true}}');
INSERT INTO "trial_params" VALUES(30,3,'hparams.grad_clip',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["null", 1.0]}}');
INSERT INTO "trial_params" VALUES(31,3,'hparams.weight_clip',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["null", 1.0]}}');
INSERT INTO "trial_params" VALUES(32,3,'hparams.batch_norm',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [true, false]}}');
INSERT INTO "trial_params" VALUES(33,3,'hparams.dropout.0',8.79970980177079420414e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 0.9, "log": false}}');
INSERT INTO "trial_params" VALUES(34,3,'hparams.threshold.start.0',2.42398368444682255073e+01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.5, "high": 25.0, "log": false}}');
INSERT INTO "trial_params" VALUES(35,3,'hparams.threshold.start.1',1.35790524214458461214e+01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.5, "high": 25.0, "log": false}}');
INSERT INTO "trial_params" VALUES(36,3,'hparams.threshold.rise.0',3.822353427413,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.5, "high": 60.0, "log": true}}');
INSERT INTO "trial_params" VALUES(37,3,'hparams.threshold.rise.1',1.33339102292083855338e+00,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.5, "high": 60.0, "log": true}}');
INSERT INTO "trial_params" VALUES(38,3,'hparams.threshold.rate.0',4.08692076649410512834e-02,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-06, "high": 0.5, "log": true}}');
INSERT INTO "trial_params" VALUES(39,3,'hparams.threshold.rate.1',2.38038747840512403134e-04,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-06, "high": 0.5, "log": true}}');
INSERT INTO "trial_params" VALUES(40,4,'hparams.beta',5.04735645340534944125e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.05, "high": 0.999, "log": false}}');
INSERT INTO "trial_params" VALUES(41,4,'hparams.slope',1.18777924809170851714e+01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.05, "high": 20.0, "log": true}}');
INSERT INTO "trial_params" VALUES(42,4,'optimizer.lr',4.90512375896041638058e-04,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 5e-05, "high": 0.05, "log": true}}');
INSERT INTO "trial_params" VALUES(43,4,'hparams.grad_clip',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["null", 1.0]}}');
INSERT INTO "trial_params" VALUES(44,4,'hparams.weight_clip',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["null", 1.0]}}');
INSERT INTO "trial_params" VALUES(45,4,'hparams.batch_norm',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [true, false]}}');
INSERT INTO "trial_params" VALUES(46,4,'hparams.dropout.0',8.04214194920710778724e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 0.9, "log": false}}');
INSERT INTO "trial_params" VALUES(47,4,'hparams.threshold.start.0',1.55308400009696683245e+01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.5, "high": 25.0, "log": false}}');
INSERT INTO "trial_params" VALUES(48,4,'hparams.threshold.start.1',1.54584080570781452475e+01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.5, "high": 25.0, "log": false}}');
INSERT INTO "trial_params" VALUES(49,4,'hparams.threshold.rise.0',3.53565826289517204372e+01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.5, "high": 60.0, "log": true}}');
INSERT INTO "trial_params" VALUES(50,4,'hparams.threshold.rise.1',7.62793972809734821538e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.5, "high": 60.0, "log": true}}');
INSERT INTO "trial_params" VALUES(51,4,'hparams.threshold.rate.0',2.94894300205875425913e-02,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-06, "high": 0.5, "log": true}}');
INSERT INTO "trial_params" VALUES(52,4,'hparams.threshold.rate.1',1.22552900423454118675e-05,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-06, "high": 0.5, "log": true}}');
CREATE TABLE trial_system_attributes (
	trial_system_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_system_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_user_attributes (
	trial_user_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_user_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_user_attributes" VALUES(1,1,'worker','"host:10732"');
INSERT INTO "trial_user_attributes" VALUES(2,1,'hparams','{"hparams": {"name": "digits_annealed", "dataset": "digits", "mode": "annealed", "beta": 0.5582837818473346, "slope": 1.5026185260108333, "batch_size": 32, "dropout": [0.7978580417912268], "batch_norm": false, "grad_clip": 1.0, "weight_clip": null, "cosine_epochs": 30.0, "threshold": {"start": [0.8248977618214537, 7.8055545099356065], "rise": [2.8962171994647234, 57.24078967666373], "rate": [5.69936990465125e-06, 0.0009754472834506974]}}, "optimizer": {"name": "adam", "lr": 0.00017854884788149058, "momentum": 0.0, "betas": [0.9, 0.999]}, "dataset": {"time_steps": 4}, "epochs": 30, "patience": null}');
INSERT INTO "trial_user_attributes" VALUES(3,2,'worker','"host:10732"');
INSERT INTO "trial_user_attributes" VALUES(4,2,'hparams','{"hparams": {"name": "digits_annealed", "dataset": "digits", "mode": "annealed", "beta": 0.973588674946223, "slope": 0.4378726798022083, "batch_size": 32, "dropout": [0.6422603251969111], "batch_norm": false, "grad_clip": 1.0, "weight_clip": 1.0, "cosine_epochs": 30.0, "threshold": {"start": [15.240522894372623, 5.650906946632032], "rise": [13.42220310964923, 0.6857557724493197], "rate": [0.006563501201451367, 9.282508101340377e-05]}}, "optimizer": {"name": "adam", "lr": 0.042715201927749386, "momentum": 0.0, "betas": [0.9, 0.999]}, "dataset": {"time_steps": 4}, "epochs": 30, "patience": null}');
INSERT INTO "trial_user_attributes" VALUES(5,3,'worker','"host:10732"');
INSERT INTO "trial_user_attributes" VALUES(6,3,'hparams','{"hparams": {"name": "digits_annealed", "dataset": "digits", "mode": "annealed", "beta": 0.5845850190630707, "slope": 0.07881767743297327, "batch_size": 32, "dropout": [0.8799709801770794], "batch_norm": false, "grad_clip": null, "weight_clip": 1.0, "cosine_epochs": 30.0, "threshold": {"start": [24.239836844468226, 13.579052421445846], "rise": [3.822353427413, 1.3333910229208386], "rate": [0.04086920766494105, 0.0002380387478405124]}}, "optimizer": {"name": "adam", "lr": 0.0444630479006134, "momentum": 0.0, "betas": [0.9, 0.999]}, "dataset": {"time_steps": 4}, "epochs": 30, "patience": null}');
INSERT INTO "trial_user_attributes" VALUES(7,4,'worker','"host:10732"');
INSERT INTO "trial_user_attributes" VALUES(8,4,'hparams','{"hparams": {"name": "digits_annealed", "dataset": "digits", "mode": "annealed", "beta": 0.5047356453405349, "slope": 11.877792480917085, "batch_size": 32, "dropout": [0.8042141949207108], "batch_norm": true, "grad_clip": null, "weight_clip": null, "cosine_epochs": 30.0, "threshold": {"start": [15.530840000969668, 15.458408057078145], "rise": [35.35658262895172, 0.7627939728097348], "rate": [0.029489430020587543, 1.2255290042345412e-05]}}, "optimizer": {"name": "adam", "lr": 0.0004905123758960416, "momentum": 0.0, "betas": [0.9, 0.999]}, "dataset": {"time_steps": 4}, "epochs": 30, "patience": null}');
CREATE TABLE trial_values (
	trial_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	value FLOAT, 
	value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_value_id), 
	UNIQUE (trial_id, objective), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_values" VALUES(1,1,0,12.5,'FINITE');
INSERT INTO "trial_values" VALUES(2,2,0,12.5,'FINITE');
INSERT INTO "trial_values" VALUES(3,3,0,12.5,'FINITE');
INSERT INTO "trial_values" VALUES(4,4,0,12.5,'FINITE');
CREATE TABLE trials (
	trial_id INTEGER NOT NULL, 
	number INTEGER, 
	study_id INTEGER, 
	state VARCHAR(8) NOT NULL, 
	datetime_start DATETIME, 
	datetime_complete DATETIME, 
	PRIMARY KEY (trial_id), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "trials" VALUES(1,0,1,'COMPLETE','2026-11-25 10:45:57.894522','2026-11-25 10:46:07.201815');
INSERT INTO "trials" VALUES(2,1,1,'COMPLETE','2026-11-25 10:46:07.332122','2026-11-25 10:46:09.346668');
INSERT INTO "trials" VALUES(3,2,1,'COMPLETE','2026-11-25 10:46:09.443647','2026-11-25 10:46:11.900360');
INSERT INTO "trials" VALUES(4,3,1,'COMPLETE','2026-11-25 10:46:11.945982','2026-11-25 10:46:14.011583');
CREATE TABLE version_info (
	version_info_id INTEGER NOT NULL, 
	schema_version INTEGER, 
	library_version VARCHAR(256), 
	PRIMARY KEY (version_info_id), 
	CHECK (version_info_id=1)
);
INSERT INTO "version_info" VALUES(1,12,'5.0.0');
CREATE UNIQUE INDEX ix_studies_study_name ON studies (study_name);
CREATE INDEX ix_trials_study_id ON trials (study_id);
COMMIT;
