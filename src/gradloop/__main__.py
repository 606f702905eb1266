"""`python -m gradloop …` is `gradloop …`."""

from gradloop.commands.entry import main

if __name__ == "__main__":
    main()
