"""Rules of English that swaps need, as regular expressions.

All are for RE2 and Python alike: no lookaround. The lists are closed classes
of words (prepositions, conjunctions, auxiliaries), or cues by spelling. None
is taken from a corpus.
"""

MARK = "\x03"  # Stands where a term was.

# How many bytes around a pronoun are looked at.
BEHIND, AHEAD = 32, 64


def _words(text):
    return "|".join(text.split())


# What can follow "him" and "hers", and cannot begin what "his" and "her"
# stand before.
_FUNCTION_WORDS = _words(
    # Prepositions and particles.
    """aboard about above across after against along alongside amid among
    amongst around as at away because before behind below beneath beside
    besides between beyond by despite during except for from in inside into
    like near of off on onto out outside over past per regarding since than
    through throughout till to together toward towards under underneath
    unlike until unto up upon via vs with within without down forward
    forwards backwards aside apart forth"""
    # Conjunctions and question words.
    """ and or but nor if though although unless while whilst whereas when
    whenever where wherever whether why how what whatever who whom whoever
    which that so yet lest once"""
    # Determiners and pronouns.
    """ a an the this these those some any every each either neither both no
    another such i you he she it we they me us them him my your our their its
    mine yours ours theirs hers her his myself yourself himself herself itself
    ourselves themselves something anything everything nothing someone anyone
    everyone nobody somebody anybody everybody none"""
    # Auxiliaries and modals.
    """ am is are was were be been do does did has have had will would shall
    should can could may might must isn aren wasn weren doesn didn don hasn
    haven hadn won wouldn shouldn can't couldn ain gonna wanna cannot"""
    # Adverbs of time, place and degree that stand alone.
    """ again ago already also always anymore anyway anywhere anytime either
    elsewhere ever everywhere forever hence here hereby however indeed
    instead just later maybe meanwhile nevertheless never not nowhere now
    often only perhaps please quite rather really sometimes somewhere soon
    still then thereby therefore there though thus today tonight tomorrow
    too twice yesterday whatsoever enough u ur im lol lmao tho cuz cause bc
    til n ya yo yall dat dis da wit w smh omg wtf haha hahaha rt yanno"""
)
# These can stand on either side. They count as the above only where a clause
# ends after them, or goes on with a function word.
_MAYBE = _words(
    """up out back down off home alone well better best much more most all
    first right around even only very so enough happy sad angry mad crazy sick
    proud free safe dead alive naked pregnant awake asleep famous
    uncomfortable comfortable"""
)
# "let her go": bare verbs after verbs that take an object and a verb.
_CAUSES = _words(
    """let lets letting make makes made making help helps helped helping have
    has had having see sees saw seen seeing watch watches watched watching
    hear hears heard hearing feel felt bid"""
)
_BARE_VERBS = _words(
    """go be do get know feel think say cry want come leave die become
    understand realize believe see tell have take make keep stay live learn
    remember forget eat sit stand win lose speak sing grow find give put bring
    suffer happen seem appear lie play wait run walk talk sleep"""
)
# "made her pick another": what follows a verb and no noun.
_OBJECTS = _words(
    """the a an another my your our their his her it them me us you this these
    those some any"""
)
# "saw her walking": participles after verbs of perception.
_PERCEIVES = _words(
    """see sees saw seen seeing watch watches watched watching hear hears heard
    hearing catch catches caught find finds found keep keeps kept leave leaves
    left got get gets getting imagine picture had has have having spot
    spotted"""
)
_NAMES = _words(
    """call calls called calling name names named naming label labels labeled
    tell tells told telling ask asks asked asking"""
)
_END = (
    r"""(?:\s*$|\s*[.,;:!?)\]}…—–\n]|["”&*~]|\s+(?:https?:|www\.)|\s+[-&(#<@=*~|>]|--"""
    r"""|\s*['’"”](?:[\s.,;:!?]|$))"""
)
# Adverbs by the end of the adjective in them, so that "family" is none.
_ADVERB = (
    r"[a-z]+(?:al|ful|less|ous|ive|ent|ant|ing|ed|ick|ight|ear|ad|os|eep|ar"
    r"|ong|ard|ire|ete|ate|ite|arm|id|st|irm)ly"
)
# Adverbs of two words, the first of which could begin a noun phrase.
_TIMES = (
    r"(?:very|so) (?:much|well|often|long)|(?:last|next) (?:night|year|month"
    r"|week|time|summer|winter|fall|spring|monday|tuesday|wednesday|thursday"
    r"|friday|saturday|sunday) *(?:[.,;:!?)]|$)|one (?:bit|day|more time)"
    r"|right (?:back|away|now|there|here|up)"
    r"|(?:many|several|two|three|a few|five|ten) (?:times|years ago|days ago)"
)
_FUNCTION = rf"\s+(?:{_FUNCTION_WORDS})(?:n?['’][a-z]+)?(?:[^\w'’-]|$)"
_PAUSE = rf"(?:{_END}|{_FUNCTION})"
# "his or her name", "her/his name": what follows is of both.
COORDINATED = (
    rf"(?is).*{MARK}(?:\s*/\s*|\s+or\s+|\s+and/or\s+)"
    r"(?:his|her|their|its|my|your|our)(?:\s|/|\().*"
)
NOT_BEFORE_NOUN = (
    r"(?is)(?:"
    rf".*{MARK}(?:{_PAUSE})"
    rf"|.*{MARK}\s*[/]\s*(?:him|her|them|it)(?:\W|$)"
    rf"|.*{MARK}\s+(?:{_MAYBE}){_PAUSE}"
    rf"|.*{MARK}\s+(?:{_TIMES})(?:[^\w'’-]|$)"
    rf"|.*{MARK}\s+{_ADVERB}{_PAUSE}"
    rf"|(?:.*\W)?(?:{_CAUSES})\s+{MARK}\s+(?:{_BARE_VERBS})(?:\W|$)"
    rf"|(?:.*\W)?(?:{_CAUSES})\s+{MARK}\s+[a-z]+\s+(?:{_OBJECTS})(?:\W|$)"
    rf"|(?:.*\W)?(?:{_PERCEIVES})\s+{MARK}\s+[a-z]+ing{_PAUSE}"
    rf"|(?:.*\W)?(?:{_NAMES})\s+{MARK}\s+[\"“'‘]"
    r").*"
)

# Words by how they begin to sound, for "a" and "an": the first that matches.
_VOWEL_EXCEPTIONS = (
    r"(?i:uni(?:n|m(?:ag|p)|dent|ss|ron|rrig))"  # "un-" before an "i".
)
_CONSONANT = (
    r"(?i:eu|ew[aei]|one(?:s|self|ness|time)?(?:[^a-z]|$)|once(?:[^a-z]|$)|oui|ouag"
    r"|u(?:[^a-zA-Z]|$)|uber(?:[^a-z]|$)|ubiq|ug(?:and|ric)|uk(?:[^a-z]|$)"
    r"|uk[aeru]|uly|unanim|unesco|unic|uni|ural|uran[iu]|ure[aty]"
    r"|uri(?:[^a-z]|$)|uri[cn]|urol|urug|url|us[aeu]|usi|usb|usc|usd|usmc|uss"
    r"|uta|uten|uter[iou]|util|utop|uv(?:[^a-z]|$)|uva|uvu|ufo)|(?:US|UN|UK|UAE|UCLA|UX|UI|UTI|UHF|USC)(?:[^a-zA-Z]|$)"
)
_VOWEL = (
    r"(?i:[aeiouàáâãäåæèéêëìíîïòóôõöøùúûüœ]"
    r"|hours?(?:[^a-z]|$)|hourly|hourglass|hourlong|hour-|honest|honou?r|heir"
    r"|homage|herb(?:[^e]|$)|hors-d|ytt|yps|yv[eo]|ylang|xbox|xml|xmas|x-?ray"
    r"|[fhlmnrsx]-|nth(?:[^a-z]|$)"
    # Names that are spelled out.
    r"|(?:fbi|fcc|fda|fm|ftp|faq|hbo|hiv|hr|html|http|https|hp|hoa|lapd|lcd"
    r"|lgbt|lgbtq|lgbtqia|llc|lsd|lp|mba|md|mlb|mma|mp|mp3|mph|mri|mtv"
    r"|naacp|nba|nbc|nda|nfl|ngo|nhl|npr|nsa|nsfw|nyc|nypd|nyu|rna|rn|rpg|rpm"
    r"|rsvp|rv|sms|sos|sql|ssn|std|sti|suv|svp|xl|xxl)s?(?:[^a-z]|$))"
    r"|[FHLMNRSX](?:[^a-zA-Z]|$)|[FHLMNRSX][B-DF-HJ-NP-TV-Z]{1,5}s?(?:[^a-zA-Z]|$)"
    r"|[FLMNRSX][B-DF-HJ-NP-TV-Z][AEIOU]s?(?:[^a-zA-Z]|$)"
    r"|(?:LED|MIT|EKG|EEG)s?(?:[^a-zA-Z]|$)"
    r"|8|1[18](?:[^\d]|$)|1[18],?\d\d\d(?:[^\d]|$)|18\d\d(?:[^\d]|$)"
)
# Words in capitals that look spelled out and are not.
_SPOKEN = (
    r"(?:MR|MRS|MS|SHE|SHY|SKY|SLY|SPY|STY|FLY|FRY|SKI|SPA|FLU|SRI|PRO|MY|NTH"
    r"|SHH?|HMM+|MMM+)(?:[^a-zA-Z]|$)"
)
# Words before which "a" is no article: "an he said" means "and he said".
PRONOUNS = r"(?i:he|she|him|her|his|hers|himself|herself)(?:[^\w-]|$)"
# Whether "an" stands before a word: patterns in order, each with the answer.
ARTICLES = (
    (_SPOKEN, "a"),
    (_VOWEL_EXCEPTIONS, "an"),
    (_CONSONANT, "a"),
    (_VOWEL, "an"),
    (r"[^\s]", "a"),
)
