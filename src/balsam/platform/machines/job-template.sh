#!/bin/bash
# What one allocation of nodes runs; change it freely: modules to load, variables, scheduler options.
# Jinja2. Everything that a user typed is passed through `quote`; keep it so.
#
# Variables: project, queue, num_nodes, wall_time_min, job_mode, filter_tags, partitions, optional_params,
#            balsam_site_path, balsam_bin, launcher_cmd, batch_job_id

export BALSAM_SITE_PATH={{ balsam_site_path | quote }}
cd "$BALSAM_SITE_PATH" || exit 1

exec {{ launcher_cmd }} -j {{ job_mode | quote }} -t {{ wall_time_min }}
{%- for key, value in filter_tags.items() %} --tag {{ (key ~ "=" ~ value) | quote }}{% endfor %} {{ partitions }}
