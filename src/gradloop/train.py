"""`python -m gradloop.train …` is `gradloop-train …`."""

from gradloop.commands.train import main

if __name__ == "__main__":
    main()
