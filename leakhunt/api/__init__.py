"""One function per question: readers, then analyses, then a typed result. Nothing here prints."""
