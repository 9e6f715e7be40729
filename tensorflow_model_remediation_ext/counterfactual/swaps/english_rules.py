r"""Rules of English that swaps need, as regular expressions.

All are for RE2: no lookaround, and `\C` is any byte, as context may be cut in
the middle of a character. Those of articles are for Python too. The lists are
closed classes of words (prepositions, conjunctions, auxiliaries), or cues by
spelling. None is taken from a corpus.
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
    besides between beyond by despite during except for from in into
    like of off on onto out over per plus regarding since than through
    throughout till to together toward towards under underneath unlike until
    unto up upon
    versus via vs with within without forward forwards backwards aside apart
    forth"""
    # Conjunctions and question words.
    """ and or but nor if though although unless while whilst whereas when
    whenever where wherever whether why how what whatever who whom whoever
    which that lest"""
    # Determiners and pronouns.
    """ a an the this these those some any each either neither both no
    another such i you he she it we they me us them him my your our their its
    mine yours ours theirs hers her his myself yourself himself herself itself
    ourselves themselves something anything everything nothing someone anyone
    everyone nobody somebody anybody everybody none"""
    # Auxiliaries and modals.
    """ am is are was were be been do does did has have had would shall
    should can could may must isn aren wasn weren doesn didn don hasn
    haven hadn won wouldn shouldn can't couldn ain gonna wanna cannot"""
    # Adverbs that stand alone.
    """ again ago anymore anyway anyways anywhere anytime elsewhere everywhere
    forever hence here hereby however instead maybe meanwhile nevertheless
    nowhere please sometimes somewhere thereby therefore there thus today
    tonight tomorrow yesterday whatsoever u ur im lol lmao lmfao tho
    cuz cause bc til n ya yo yall dat dis da wit w smh omg wtf haha hahaha rt
    yanno btw aka yes yeah ok okay oh hey"""
)
# These can stand on either side. They count as the above where a clause ends
# after them, or goes on with a function word.
_EITHER = _words(
    """down alone well better much more most all even only very so
    enough also already always ever hardly indeed just late later earlier near
    nearby never now often once perhaps quite rather really soon still then too
    twice yet inside outside abroad overseas online upstairs downstairs lots
    alike altogether asleep awake alive afterwards afterward dead naked
    pregnant"""
)
# Adverbs by the end of the adjective in them, so that "family" is none.
_ADVERB = (
    r"(?:[a-z]+(?:al|ful|less|ous|ive|ent|ant|ing|ed|ick|ight|ear|ad|eep"
    r"|ong|ard|ire|ete|ate|ite|arm|id|irm|ud|ew|iet|ose|ure|ere)ly"
    r"|[a-z]{3,}arly|[a-z]+[ai]bly|[a-z]*(?:fair|mere|most|simp|who|ful|tru"
    r"|dul|gent|great|nice|rare|blind|part|first|last|just|most|short|swift"
    r"|exact|direct|correct|perfect|strict|honest)ly"
    r"|(?:happ|eas|heav|angr|hungr|stead|luck|worr|temporar|necessar|voluntar"
    r"|momentar|speed|hast|greed|bod|prett|nois|craz|merr|guilt|primar)ily)"
)
# Adverbs of several words, the first of which could begin a noun phrase.
_DAY = (
    r"(?:night|day|time|week|weekend|month|year|morning|evening|afternoon"
    r"|summer|winter|fall|spring|monday|tuesday|wednesday|thursday|friday"
    r"|saturday|sunday)"
)
_TIMES = (
    r"(?:(?:very|so|too) (?:much|well|often|long|hard)"
    rf"|(?:last|next) {_DAY} *(?:[.,;:!?)]|$)"
    rf"|every (?:{_DAY}|\x04?other|now|so|chance|opportunity|reason|step|once)"
    r"|one (?:bit|day|more|last|final|\x04?by) *(?:time|one|$|[.,;:!?])"
    r"|right (?:back|away|now|\x04?(?:there|here|up|before|after))"
    r"|past \x04the|long (?:\x04ago|enough|\x04before)"
    r"|(?:\d+|many|several|two|three|four|\x04?a few|five|six|ten)"
    r"(?: \x04or \w+)? (?:times|(?:years|days|weeks|months|hours) \x04ago)"
    r"|(?:years|months|weeks|days|hours|moments|ages)"
    r" (?:later|\x04(?:ago|before)))"
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
    suffer happen seem appear lie wait run walk talk sleep look sound
    try start open close read write buy sell pay meet drive fly swim fall rise
    reach escape decide choose marry explain ask join follow pass enter arrive
    listen play scream recover heal cope achieve accomplish overcome avoid
    prepare finish begin stop continue succeed fail choke vomit"""
)
# "made her pick another": what follows a verb and no noun.
_OBJECTS = _words(
    """the a an another my your our their his her it them me us you this these
    those some any"""
)
# Nouns that one makes or has, at a time that follows: "made her debut the".
_MADE = _words(
    """debut way home mark name case point move choice decision entrance bed
    money fortune appearance start return living career baby child first"""
)
# "saw her walking": participles after verbs of perception.
_PERCEIVES = _words(
    """see sees saw seen seeing watch watches watched watching hear hears heard
    hearing catch catches caught find finds found keep keeps kept leave leaves
    left got get gets getting imagine picture had has have having spot
    spotted record recorded remember"""
)
_DOING = _words(
    """saying telling doing going getting trying asking talking coming walking
    standing sitting lying crying wearing holding leaving making taking
    looking running playing eating drinking posting using giving putting
    calling begging kissing throwing waiting hanging acting having being"""
)
# "had her arrested", "found her attractive": what follows is about her.
_RESULTS = _words(
    """have has had having get gets got getting want wants wanted see saw find
    finds found need needs needed make makes made making keep keeps kept leave
    leaves left drive drives drove driven consider considers considered think
    thinks thought believe believed call calls called render rendered turn
    turned feel declare declared deem deemed hold held set like prefer eat eats
    strip stripped"""
)
_RESULT = (
    r"(?:[a-z]{2,}(?:ed|ous|ful|able|ible|less|ive)|happy|happier|sad|angry"
    r"|mad|crazy|sick|proud|free|safe|uncomfortable|famous|busy|lonely|jealous"
    r"|hot|rich|poor|strong|stronger|weak|sorry|guilty|ugly|pretty|beautiful"
    r"|fat|ill|unwell|gone|dead|naked|available|responsible|worse|feel|out"
    r"|unfit|fit|young|old|tired|likely|unhappy|bad|good|silent|quiet|hostage"
    r"|captive|prisoner|company|killed|shot|hurt|beaten|drunk|high|wet|calm"
    r"|down|home|back|right|wrong|attractive|stupid|dumb|upset|sane|sober"
    r"|unconscious|bald|blind|lame|legal|hopeful|ready|eligible|worthy)"
)
# "call her back": nouns of the body, of places and of rights as adverbs.
_BACK = (
    r"(?:(?:call|bring|take|get|give|put|send|pull|push|hold|win|want|follow|love"
    r"|text|write|pay|hit|let|see|turn|drag|drive|throw|welcome|lead|invite"
    r"|have|carry|walk|escort|accompany|summon)(?:s|ed|ing|ting|ning)?"
    r"|brings|gave|given|giving|brought|took|taken|taking|got|sent|held|won|wrote|writing"
    r"|paid|led|drove|driven|driving|threw|thrown|saw|seen|followed|carried"
    r"|accompanied|calling|lets|loving|inviting|had)"
)
_RIGHTLY = r"(?:treat|treats|treated|treating|serve|serves|served|do|did|done)"
# "give her two books": what verbs with two objects give.
_GIVES = _words(
    """give gives gave given giving send sends sent sending offer offers
    offered offering show shows showed shown showing hand hands handed handing
    lend lends lent loan loaned owe owes owed pay pays paid paying cost costs
    costing grant grants granted granting promise promised award awarded charge
    charged earn earns earned earning buy buys bought buying bring brings
    brought bringing allow allows allowed deny denied bear bore teach teaches
    taught teaching wish wishes wished"""
)
_AMOUNT = (
    r"(?:[$€£#]?\d[\d,.]*|two|three|four|five|six|seven|eight|nine|ten|eleven"
    r"|twelve|fifteen|twenty|thirty|forty|fifty|sixty|hundreds?|thousands?"
    r"|millions?|half|much|more|many|several|plenty|lots|enough|extra|one"
    r"|less|fewer|twenty-four)(?:[^\w'’-]|$)"
)
_GIFT = (
    r"(?:permission|advice|trouble|hell|hope|credit|access|money|flowers|food"
    r"|water|instructions|directions|medicine|medication|pleasure|comfort"
    r"|courage|confidence|joy|pause|chills|goosebumps|shit|props|candy"
    r"|admission|entry|shelter|refuge|time|attention|orders|information"
    r"|details|pills|drugs|nightmares|presents|gifts|chocolates?|drinks"
    r"|attitude|crap|grief|strength|support|space|asylum|power|powers|custody"
    r"|breakfast|dinner|lunch|coffee|tea|soup|english|french|german|spanish"
    r"|chinese|latin|math|maths|music|manners|luck)"
)
_COOKS = _words(
    "make makes made making cook cooked cooking fix fixed pour poured get got"
)
_MEAL = r"(?:breakfast|dinner|lunch|coffee|tea|soup)"
_NAMES = _words(
    "call calls called calling name names named naming label "
    "labels labeled dub dubs dubbed nickname nicknamed rename "
    "renamed christened"
)
_TELLS = _words(
    """tell tells told telling ask asks asked asking bid bids wish wishes wished
    say exhort exhorted urge urged send sent give gave"""
)
_GREETING = (
    r"(?:goodbye|good-bye|bye|hello|hi|good night|good morning|goodnight|yes"
    r"|happy birthday|merry christmas|thanks|thank you|congratulations"
    r"|farewell|good luck|questions|lies|stories|things)"
)
_WILL = (
    r"will \x04?(?:be|have|not|never|always|agree|tell|say|know|get|go|see|find"
    r"|come|take|make|also|all|only|remember|attest|do|miss)"
)
# Emoji, symbols and stops beyond ASCII; no letter, currency, opening bracket.
_SIGN = r"[^\x00-\x7f\pL\pM\pN\pZ\pC\p{Sc}\p{Pi}\p{Pf}\p{Ps}\p{Pd}\p{Pc}]"
# What follows a pronoun is looked at in two steps, to keep patterns small:
# these words and signs get a mark, and the rules know them by it.
TO_MARK = rf"(?i)\b(?:{_FUNCTION_WORDS})\b|(?-i:{_SIGN})"
FUNCTION = "\x04"
_F = rf"{FUNCTION}?"  # Before a word that may be one of them.
_FUNCTION = rf"\s+{FUNCTION}[a-z]+(?:n?['’][a-z]+)?(?:[^\w'’-]|$)"
_WORD_END = r"(?:[^\w'’-]|$)"
_END = (
    rf"""(?:\s*$|\s*(?:[.,;:!?)\]}}—–]|{FUNCTION}[^\x00-\x7f])|["”&*~]"""
    # An empty line, or one that begins with a capital; others are wrapped.
    r"""|\s*\n\s*(?:\n|(?-i:[A-Z][a-z]))|\s+(?:https?:|www\.)"""
    r"""|\s+[-&#<@=*~|>^]|--|\s*['’"”]+(?:[\s.,;:!?]|$)"""
    # A parenthesis in the middle of a noun phrase is followed by more of it.
    rf"""|\s*\([^)]*(?:\C{{0,3}}$|\)\s*(?:[.,;:!?)"”]|$)|\){_FUNCTION})"""
    rf"""|\s*[\[(]{FUNCTION}[a-z]+{_WORD_END})"""
)
_PAUSE = rf"(?:{_END}|{_FUNCTION})"
OBJECT = "\x02"  # Stands where a "her" was, MARK for other pronouns.
_ANY = rf"[^{MARK}{OBJECT}]*"
_WORDS = rf"(?:{_ANY}[^\w{MARK}{OBJECT}])?"
# "his or her name", "her/his name", "her and Tom's name": what follows is of
# both. "made her debut the same day": a noun, and no verb.
COORDINATED = (
    rf"(?is)(?:{_ANY}[{MARK}{OBJECT}](?:\s*/\s*|\s+{_F}or\s+|\s+{_F}and/{_F}or\s+)"
    rf"{_F}(?:his|her|their|its|my|your|our)(?:\s|/|\()\C*"
    rf"|{_ANY}[{MARK}{OBJECT}]\s+(?:{FUNCTION}and|&)\s+(?:(?-i:[A-Z])[a-z]+\s)?"
    r"(?-i:[A-Z])[a-z]+['’]s?\s\C*"
    rf"|{_ANY}[{MARK}{OBJECT}]\s+soon {FUNCTION}to {FUNCTION}be\s\C*"
    rf"|{_ANY}[{MARK}{OBJECT}]\s+{_ADVERB}\s+{_F}(?:and|but|yet|or)\s+[a-z]+ly\s+[a-z]+"
    r"(?:ed|ing|ive|ous|ful|ic|al|ent|ant)\W\C*"
    rf"|{_WORDS}(?:ma[dk]e|makes|making|ha[ds]|have)\s+{OBJECT}\s+"
    rf"(?:{_MADE})\W\C*)"
)
NOT_BEFORE_NOUN = (
    r"(?is)(?:"
    rf"{_ANY}[{MARK}{OBJECT}](?:{_PAUSE}|\s+(?:too|also|now|then|alone){_END})"
    rf"|{_ANY}{OBJECT}(?:"
    rf"\s*[/]\s*{_F}(?:him|her|them|it)\W"
    rf"|(?:\s+(?:{_EITHER}|{_ADVERB}|1\d\d+ ?%)){{1,3}}{_PAUSE}"
    rf"|\s+{_TIMES}{_WORD_END}"
    rf"|\s+{_WILL}{_WORD_END}"
    rf"|\s+[\"“‘'`]+(?:{FUNCTION}[a-z]+|i['’]m|one){_WORD_END})"
    rf"|{_WORDS}(?:(?:{_CAUSES})\s+{OBJECT}\s+"
    rf"(?:(?:never |not |always |just )?{_F}(?:{_BARE_VERBS}){_WORD_END}"
    rf"|[a-z]+\s+{FUNCTION}(?:{_OBJECTS}){_WORD_END})"
    rf"|(?:{_PERCEIVES})\s+{OBJECT}\s+(?:[a-z]+ing{_PAUSE}"
    rf"|(?:{_DOING}){_WORD_END})"
    rf"|(?:{_RESULTS})\s+{OBJECT}\s+(?:(?:so|very|too|more|really|quite|all"
    rf"|feel|look) ){{0,2}}{_RESULT}{_PAUSE}"
    rf"|(?:lets?|letting)\s+{OBJECT}\s+(?:work|drive|dance|answer|smile|laugh"
    rf"|return|rest|shower|vote|date|cook|dress|talk){_WORD_END}"
    rf"|{_BACK}\s+{OBJECT}\s+(?:back|home|first){_PAUSE}"
    rf"|{_RIGHTLY}\s+{OBJECT}\s+(?:right|wrong|good|dirty|proud){_PAUSE}"
    rf"|(?:{_GIVES})\s+{OBJECT}\s+(?:{_AMOUNT}|{_GIFT}{_PAUSE})"
    rf"|it\s+(?:takes|took|cost)\s+{OBJECT}\s+{_AMOUNT}"
    rf"|(?:{_COOKS})\s+{OBJECT}\s+{_MEAL}{_PAUSE}"
    rf"|(?:{_TELLS})\s+{OBJECT}\s+(?:{_GREETING}{_WORD_END}|first{_PAUSE})"
    rf"|(?:{_NAMES}|{_TELLS})\s+{OBJECT}\s+[\"“'‘`]"
    rf"|(?:{_NAMES})\s+{OBJECT}\s+(?:names{_PAUSE}|(?-i:[A-Z])[a-z]+{_PAUSE})"
    rf"|(?:made|makes|make|appointed|elected|crowned)\s+{OBJECT}\s+"
    r"(?-i:[A-Z])[a-z]+ \x04of\W)"
    r")\C*"
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
