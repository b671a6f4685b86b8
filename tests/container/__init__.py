"""The image that ships, built and run for real: ``scripts/test-container``.

::

    context   a copy of this tree with what must stay out planted in it
       │ build, on a pulled base or on one from ``base`` (debootstrap)
       ▼
    engines   docker, podman, ``buildah`` ── run ──► the image, as its own user, network of the host
       │                                              ▲                ▲
    contents  judges every file of the image          │ HTTP           │ redis-server, PostgreSQL
    checks    boots it, asks it, takes its trust away, ends it under load

``tests/test_container.py`` holds what needs no image.
"""
