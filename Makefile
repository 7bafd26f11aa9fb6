# Two commands for a fresh machine:  make run  ·  make test.   They need Python >= 3.10 and make.

RUN  := .venvs/run
TEST := .venvs/test
PIP  := bin/python -m pip install --disable-pip-version-check --quiet
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.10; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && echo $$p && break; done)
EXTRA ?= cpu  # or gpu
PYTEST = $(TEST)/bin/python -m pytest
# they keep pace with a clock: none of these runs beside another
PACED := tests/e2e tests/obs_plugin

.PHONY: run test system check lint types fast slow perf bench fuzz soak golden docs clean

run: $(RUN)/installed  ## install and serve; options in ARGS, as in  make run ARGS="--port 9000"
	@exec $(RUN)/bin/timbral serve $(ARGS)

test: system check slow perf  ## everything; the first step that fails ends it

system:  ## the Debian packages that the tests need, as far as this user may install them
	@sh .ci/system .ci/packages

check: lint types fast  ## what is to be green before every commit

lint: $(TEST)/installed
	$(TEST)/bin/ruff check .
	$(TEST)/bin/ruff format --check .

types: $(TEST)/installed lint
	$(TEST)/bin/pyright --pythonpath $(TEST)/bin/python

fast: $(TEST)/installed types
	$(PYTEST) -n 2 -m "not slow and not perf"

slow: $(TEST)/installed fast
	$(PYTEST) -n 2 -m "slow and not perf" $(PACED:%=--ignore %)
	$(PYTEST) -m "slow and not perf" $(PACED)

perf: $(TEST)/installed slow
	$(PYTEST) -m perf

bench: $(TEST)/installed  ## the stage table of every profile
	$(TEST)/bin/timbral bench

fuzz: $(TEST)/installed  ## more than a million broken inputs, in about half an hour; options in ARGS
	PYTHONPATH=.:tests $(TEST)/bin/python -m fuzz $(ARGS)

soak: $(TEST)/installed  ## a server's day in simulated time, then 20 real minutes; options in ARGS
	PYTHONPATH=tests $(TEST)/bin/python tests/soak.py $(ARGS)

golden: $(TEST)/installed  ## write the files in tests/golden/ anew
	for path in tests/golden/make_*.py; do PYTHONPATH=tests $(TEST)/bin/python $$path; done

docs: $(TEST)/installed  ## write what is computed in docs/ anew
	$(TEST)/bin/python tests/test_readme.py
	PYTHONPATH=tests $(TEST)/bin/python tests/server/test_settings.py
	PYTHONPATH=.:tests $(TEST)/bin/python tests/test_scaling.py

clean:
	rm -rf .venvs .pytest_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -prune -exec rm -rf {} +

$(RUN)/installed: pyproject.toml .ci/python
	@PYTHON="$(PYTHON)" sh .ci/python $(RUN)
	@sh .ci/system .ci/packages run:
	@echo "Installing timbral[$(strip $(EXTRA)),mic]: about a minute, once."
	$(RUN)/$(PIP) -e '.[$(strip $(EXTRA)),mic]'
	@touch $@

$(TEST)/installed: pyproject.toml .ci/python
	@PYTHON="$(PYTHON)" sh .ci/python $(TEST)
	@echo "Installing everything the tests need, PyTorch included: some minutes, once."
	$(TEST)/$(PIP) torch==2.13.0
	$(TEST)/$(PIP) -e '.[cpu,mic,offline,separate,say,edge,cluster,train,dev]'
	$(TEST)/$(PIP) --no-deps infer_rvc_python==1.3.1 torchfcpe==0.0.4 # MIT, to compare with
	@touch $@
