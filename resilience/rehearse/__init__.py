"""The user's own project under a platform's constraints, driven through outages made on purpose.

    manage.py rehearse ── request ──► director      a process of its own: no network but loopback,
          ▲                              │          and whatever it starts ends with it
          └── findings, progress ────────┤
                                         │  for each scenario a stage:
                                         ├─► redis-server ◄── proxy, LangSmith, OpenAI, mail
                                         ├─► child: the project's server  ◄── load
                                         └─► child: checkdeploy           ──► was the fault named?

A child is the project with the caller's variables and the values of its ``.env``, every outside
address replaced by one of the stage, every other connection refused and listed.
"""
